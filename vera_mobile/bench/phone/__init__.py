"""`vera bench phone`: the benchmark of the demo apps, driven from this machine by cable.

What the apps have to offer, on either system: started with a bundle's name and a unit, the app runs
what `vera_mobile.measure.bench_run` runs here, ten plans in a row among it, writes a result in the
form of `result.schema.json` under a temporary name, renames it to FILE, and ends. FILE is new in
every run, so that no old result can be taken for this one's. A unit that the app cannot use is a
file too: {"format": "vera-bench-refusal", "unit": ..., "reason": ...}.

    Android  am start -n ai.vera.demo/.BenchActivity --es bundle NAME --es out FILE
             --es unit cpu|gpu|npu --ei repeats N --ei in_a_row N
             files in /sdcard/Android/data/ai.vera.demo/files: bundles/NAME, FILE
    iOS      devicectl device process launch --console ai.vera.demo -bench NAME -out FILE
             -unit cpu|gpu|npu -repeats N -in_a_row N
             files in the app's container: Documents/bundles/NAME, Documents/FILE

The whole line was never run against a phone: only against programs that answer in adb's and
devicectl's form.
"""
