/// The parts of the HTML report that are the same on every page.
enum HTMLPage {
    static let style = """
        :root { color-scheme: light dark; --text: #1c1e21; --faint: #667; --line: #d8dbe0; --page: #fff;
          --band: #f4f5f7;
          --a: #0072b2; --b: #d55e00; --c: #009e73; --d: #b0578d; --good: #00704f; --bad: #b03a00; }
        @media (prefers-color-scheme: dark) { :root { --text: #e6e7ea; --faint: #9aa0aa; --line: #3a3f47;
          --page: #16181c;
          --band: #202329; --a: #56b4e9; --b: #f0883e; --c: #3fc79a; --d: #e09bc6; --good: #3fc79a; --bad: #f0883e; } }
        body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem; font: 15px/1.45 system-ui, sans-serif;
          color: var(--text); background: var(--page); }
        h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2rem; }
        .wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 14px; }
        th, td { padding: .3rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
        th { white-space: nowrap; color: var(--faint); font-weight: 600; }
        td { overflow-wrap: break-word; } td.number, th.number { text-align: right; white-space: nowrap;
          font-variant-numeric: tabular-nums; }
        figure { margin: 0; } svg { display: block; max-width: 100%; height: auto; } svg text { fill: var(--text);
          font: 13px system-ui, sans-serif; } svg .faint { fill: var(--faint); } svg .grid { stroke: var(--line); }
        .controls { display: flex; flex-wrap: wrap; gap: .6rem 1rem; align-items: end; margin: .6rem 0; }
        .controls label { display: flex; flex-direction: column; font-size: 12px; color: var(--faint); }
        input, select, button { font: inherit; color: inherit; background: var(--band); border: 1px solid var(--line);
          border-radius: 4px; padding: .25rem .5rem; } input[type=number] { width: 6rem; }
        button:disabled { opacity: .4; }
        #completions td.long { min-width: 16rem; max-width: 34rem; } .long pre { margin: 0; white-space: pre-wrap;
          overflow-wrap: anywhere; font: 13px/1.4 ui-monospace, monospace; max-height: 11em; overflow: hidden; }
        .long.open pre { max-height: none; } #completions td.long { cursor: pointer; }
        #completions tbody tr:hover { background: var(--band); }
        .note { display: block; font-size: 12px; color: var(--faint);
          white-space: normal; } .flag { color: var(--bad); font-size: 12px; display: block; }
        """

    static let controls = """
        <div class="controls">
        <label>Search <input id="search" type="search" placeholder="in prompts and completions"></label>
        <label>Prompts <select id="source"><option value="">all</option></select></label>
        <label>Show <select id="state"><option value="">all</option><option value="truncated">truncated</option>\
        <option value="unanswered">no answer</option><option value="failed">reward failed</option>\
        <option value="abstained">reward abstained</option></select></label>
        <label>Reward <select id="reward"></select></label>
        <label>from <input id="from" type="number" step="any"></label>
        <label>to <input id="to" type="number" step="any"></label>
        <label>Order <select id="order"><option value="">as sampled</option>\
        <option value="up">lowest score first</option>\
        <option value="down">highest score first</option><option value="long">longest first</option></select></label>
        </div>
        <div class="controls"><button id="back">Back</button><button id="next">Next</button>\
        <span id="shown"></span></div>
        """

    static let script = """
        "use strict";
        (() => {
          const { rewards, samples } = JSON.parse(document.getElementById("samples").textContent);
          const by = id => document.getElementById(id), size = 50;
          let found = samples, first = 0;
          const element = (name, text, kind) => {
            const made = document.createElement(name);
            if (text !== undefined) made.textContent = text;
            if (kind) made.className = kind;
            return made;
          };
          const name = sample => sample.set === sample.source ? sample.set : sample.set + " · " + sample.source;
          const option = (list, value, text) => {
            const made = element("option", text);
            made.value = value;
            by(list).append(made);
          };
          [...new Set(samples.map(name))].forEach(text => option("source", text, text));
          rewards.forEach((text, index) => option("reward", index, text));
          const head = element("tr");
          ["prompts", "row", "prompt", "completion"].forEach(text => head.append(element("th", text)));
          ["length", ...rewards].forEach(text => head.append(element("th", text, "number")));
          document.querySelector("#completions thead").append(head);

          const long = text => {
            const cell = element("td", undefined, "long");
            cell.append(element("pre", text));
            cell.addEventListener("click", () => { if (!String(getSelection())) cell.classList.toggle("open"); });
            return cell;
          };
          const scored = score => {
            const text = score.score === null ? score.state : String(Math.round(score.score * 1e4) / 1e4);
            const cell = element("td", text, "number");
            if (score.note) cell.append(element("span", score.note.slice(0, 300), "note"));
            return cell;
          };
          const row = sample => {
            const line = element("tr");
            const length = element("td", sample.length, "number");
            if (sample.truncated) length.append(element("span", "truncated", "flag"));
            if (sample.unanswered) length.append(element("span", "no answer", "flag"));
            line.append(element("td", name(sample)), element("td", sample.row), long(sample.prompt),
              long(sample.completion), length, ...sample.scores.map(scored));
            return line;
          };
          const states = {
            truncated: sample => sample.truncated, unanswered: sample => sample.unanswered,
            failed: sample => sample.scores.some(score => score.state === "failed" || score.state === "timedOut"),
            abstained: sample => sample.scores.some(score => score.state === "abstained"),
          };
          const draw = () => {
            document.querySelector("#completions tbody").replaceChildren(...found.slice(first, first + size).map(row));
            const last = Math.min(first + size, found.length);
            by("shown").textContent = found.length === 0 ? "no completion fits" :
              `${first + 1}–${last} of ${found.length}`
              + (found.length < samples.length ? ` (${samples.length} in all)` : "");
            by("back").disabled = first === 0;
            by("next").disabled = last === found.length;
          };
          const filter = () => {
            const text = by("search").value.toLowerCase(), source = by("source").value;
            const state = states[by("state").value];
            const low = by("from").value, high = by("to").value, order = by("order").value;
            const score = sample => sample.scores[by("reward").value || 0]?.score ?? null;
            found = samples.filter(sample => (!source || name(sample) === source) && (!state || state(sample))
              && (!text || (sample.prompt + "\\n" + sample.completion).toLowerCase().includes(text))
              && (low === "" || (score(sample) !== null && score(sample) >= Number(low)))
              && (high === "" || (score(sample) !== null && score(sample) <= Number(high))));
            const ranked = sign => (a, b) => (score(a) === null) - (score(b) === null) || sign * (score(a) - score(b));
            if (order === "up") found.sort(ranked(1));
            if (order === "down") found.sort(ranked(-1));
            if (order === "long") found.sort((a, b) => b.length - a.length);
            first = 0;
            draw();
          };
          const filters = ["search", "source", "state", "reward", "from", "to", "order"];
          filters.forEach(id => by(id).addEventListener("input", filter));
          by("back").addEventListener("click", () => { first = Math.max(0, first - size); draw(); });
          by("next").addEventListener("click", () => { first += size; draw(); });
          draw();
        })();
        """
}
