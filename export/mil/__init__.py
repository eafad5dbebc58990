"""Reads saved Core ML packages (.mlpackage) and computes them with PyTorch, on any machine.

    from vera_mobile.export.mil.package import Package
    from vera_mobile.export.mil.session import Session

    session = Session(Package.open("decoder.mlpackage"), precision="fp16")
    outputs = session.run({"embeds": embeds, "start": start})

What it tests is the program in the package: its operators, its weights as they are stored, and what
half floats do to it. It does not test Apple's compiler or the chip.
"""
