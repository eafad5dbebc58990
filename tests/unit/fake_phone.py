"""Stands in for `adb` and `xcrun`: answers in their forms and plays the demo app's part.

    python fake_phone.py adb|xcrun ARGUMENTS

FAKE_PHONE names a folder with scenario.json and result.json; every call is noted in calls.txt.
scenario: "devices", "memory", "thermal" (files of tests/unit/phones), "refuse" (units), "dies",
"polls" (looks until the app is done), "result" (text in place of the app's file).
"""

import json
import os
import sys

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "phones")
HOME = os.environ["FAKE_PHONE"]


def read(*parts):
    with open(os.path.join(*parts), encoding="utf-8") as stream:
        return stream.read()


def scenario(name, default):
    return json.loads(read(HOME, "scenario.json")).get(name, default)


def remember(**values):
    with open(os.path.join(HOME, "state.json"), "w", encoding="utf-8") as stream:
        json.dump(values, stream)


def state():
    try:
        return json.loads(read(HOME, "state.json"))
    except OSError:
        return {}


def option(words, name):
    return words[words.index(name) + 1]


def app_file(unit):
    """What the app writes."""
    if scenario("result", None) is not None:
        return scenario("result", None)
    if unit in scenario("refuse", []):
        reason = f"no delegate for the {unit}"
        return json.dumps({"format": "vera-bench-refusal", "unit": unit, "reason": reason})
    return json.dumps({**json.loads(read(HOME, "result.json")), "unit": unit})


def adb(words):
    if words[:1] == ["devices"]:
        return read(HERE, scenario("devices", "devices.txt"))
    assert words[0] == "-s", words
    words = words[2:]
    if words[0] == "pull":
        assert words[1].endswith(state()["out"])
        with open(words[2], "w", encoding="utf-8") as stream:
            stream.write(app_file(state()["unit"]))
        return f"{words[1]}: 1 file pulled, 0 skipped. 5.1 MB/s (4096 bytes in 0.001s)\n"
    if words[0] != "shell":
        return {"push": "1 file pushed\n", "install": "Performing Streamed Install\nSuccess\n"}[
            words[0]
        ]
    return shell(words[1])


def shell(line):
    import shlex

    words = shlex.split(line)
    if words[:2] == ["am", "start"]:
        if scenario("no_app", False):
            return (
                "Starting: Intent { cmp=ai.vera.demo/.BenchActivity (has extras) }\n"
                "Error type 3\nError: Activity class {ai.vera.demo/ai.vera.demo.BenchActivity} "
                "does not exist.\n"
            )
        remember(unit=option(words, "unit"), out=option(words, "out"), polls=0)
        return "Starting: Intent { cmp=ai.vera.demo/.BenchActivity }\nStatus: ok\nComplete\n"
    if words[:2] == ["am", "force-stop"]:
        remember()
    if words[0] == "ls":
        now = state()
        remember(**{**now, "polls": now["polls"] + 1})
        done = now["polls"] + 1 >= scenario("polls", 2) and not scenario("dies", False)
        return "bundles\n" + (now["out"] + "\n" if done else "")
    if words[0] == "pidof":
        return "" if scenario("dies", False) else "18342\n"
    if words[0] == "getprop":
        return read(HERE, "getprop.txt")
    if words[:2] == ["dumpsys", "thermalservice"]:
        return read(HERE, scenario("thermal", "thermalservice.txt"))
    if words[:2] == ["dumpsys", "battery"]:
        return read(HERE, "battery.txt")
    if words[:2] == ["dumpsys", "meminfo"]:
        return read(HERE, "meminfo.txt" if state().get("polls") else "meminfo_gone.txt")
    assert words[0] in ("rm", "mkdir", "am"), line
    return ""


def xcrun(words):
    assert words[0] == "devicectl", words
    if words[1:3] == ["list", "devices"]:
        with open(option(words, "--json-output"), "w", encoding="utf-8") as stream:
            stream.write(read(HERE, "devicectl_devices.json"))
        return "Name       Hostname   Identifier   State       Model\n"
    assert option(words, "--device") == "5A7B8C9D-0E1F-4A2B-8C3D-4E5F6A7B8C9D"
    if words[2:4] == ["process", "launch"]:
        if scenario("no_app", False):
            sys.exit(
                "ERROR: The application failed to launch. (com.apple.dt.CoreDeviceError 10002)"
            )
        assert words[words.index("--terminate-existing") + 1] == "ai.vera.demo"
        remember(unit=option(words, "-unit"), out=option(words, "-out"))
        return "Launched application with ai.vera.demo bundle identifier.\nApp terminated\n"
    if words[2:4] == ["copy", "from"]:
        assert option(words, "--source") == f"Documents/{state()['out']}"
        if scenario("dies", False):
            sys.exit("ERROR: The specified file could not be transferred. (error 7000)")
        with open(option(words, "--destination"), "w", encoding="utf-8") as stream:
            stream.write(app_file(state()["unit"]))
    return ""


def main():
    name, *words = sys.argv[1:]
    with open(os.path.join(HOME, "calls.txt"), "a", encoding="utf-8") as stream:
        stream.write(f"{name} {' '.join(words)}\n")
    sys.stdout.write({"adb": adb, "xcrun": xcrun}[name](words))


if __name__ == "__main__":
    main()
