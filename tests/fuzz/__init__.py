"""Inputs by the million for whatever reads what others wrote. ``python -m tests.fuzz --help``, or ``make fuzz``.

One module for each target: ``generate`` makes an input out of a source of randomness, ``check`` holds against it what
must be true of every input. An input is bytes, so that one that breaks a rule can be kept as a file: those in
``findings/<target>/`` are tried again at each run of the tests.
"""
