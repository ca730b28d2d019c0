/// The Python side of a tracker: a program of the standard library and the tracker's own client, given to the
/// interpreter with `-c`.
///
/// It says on its standard output whether the client has started, then follows `metrics.jsonl`, which it finds in the
/// run's folder, and ends when its standard input does; whatever the client prints goes to stderr. `<tracker>_run.json`
/// in the run's folder keeps which run of the tracker's this is and how many rows it has been sent: a resumed run's
/// rows equal those it repeats, and go out once.
enum TrackerProgram {
    static let source = #"""
        import importlib, json, os, select, signal, sys, traceback, uuid

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the run's end is the end of stdin
        options = json.loads(sys.argv[1])
        tracker, folder = options["tracker"], options["folder"]
        rows, kept = os.path.join(folder, "metrics.jsonl"), os.path.join(folder, tracker + "_run.json")
        channel = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)


        def answer(**members):
            channel.write(json.dumps(members) + "\n")
            channel.close()


        def value(text):
            try:
                return json.loads(text)
            except ValueError:
                return text


        def state_of_run():
            fresh = {"id": uuid.uuid4().hex[:8], "sent": 0, "config": options["config"]}
            if not options["resumes"] or not os.path.exists(kept):
                return fresh, False
            with open(kept) as file:
                state = json.load(file)
            there = 0
            if os.path.exists(rows):
                with open(rows, "rb") as file:
                    there = sum(1 for _ in file)
            if there < state["sent"] and state["config"] != options["config"]:
                return fresh, False  # it will not write again the rows that were sent
            return {**state, "config": options["config"]}, True


        def save():
            with open(kept + ".partial", "w") as file:
                json.dump(state, file)
            os.replace(kept + ".partial", kept)


        def start():
            config = {key: value(text) for key, text in options["config"].items()}
            named = options.get("project") or os.environ.get(tracker.upper() + "_PROJECT")
            project = named or options["default_project"]
            if tracker == "wandb":
                run = client.init(
                    project=project, name=options["name"], id=state["id"], resume="allow", dir=folder, config=config)
                client.define_metric("step")
                client.define_metric("*", step_metric="step")
                return getattr(run, "url", None) or run.dir
            resume = "allow" if resumes else "never"
            client.init(project=project, name=options["name"], resume=resume, config=config, embed=False)
            return 'trackio show --project "%s"' % project


        def send(row):
            row = {key: float("nan") if number is None else number for key, number in row.items()}
            row.pop("time", None)
            if tracker == "wandb":
                client.log(row)
            else:
                client.log(row, step=row.pop("step"))


        def follow():
            while not os.path.exists(rows):
                if is_over(0.5) and not os.path.exists(rows):
                    return
            over, rest, number = False, b"", 0
            with open(rows, "rb") as file:
                while True:
                    piece = file.read()
                    if not piece and over:
                        return
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        number += 1
                        if number > state["sent"]:
                            send(json.loads(line))
                            state["sent"] = number
                            save()
                    if not piece:
                        over = is_over(0.5)


        def is_over(seconds):
            ready, _, _ = select.select([0], [], [], seconds)
            return bool(ready) and os.read(0, 4096) == b""


        try:
            client = importlib.import_module(tracker)
            client.init
        except (ImportError, AttributeError) as error:
            answer(missing=str(error))
            sys.exit(0)
        try:
            state, resumes = state_of_run()
            place = start()
            save()
        except BaseException as error:
            traceback.print_exc()
            answer(problem="%s: %s" % (type(error).__name__, error))
            sys.exit(1)
        answer(place=place)
        follow()
        client.finish()
        """#
}
