"""From a program to a model folder and back.

Saving (`save`): the `arguments` are checked; `contents` writes the program as plain data, as a pickle or
as its own code (`from_code`); `folder` writes all that MLflow wants around it, and looks for secrets.

Loading (`load`): `mlmodel` reads what the folder says of itself, `format` checks it, `contents` opens it,
`trust` says whether it may be loaded; only then `contents` makes the program, and `model_config` is
applied. `core_models` and `unpickle` read what MLflow's own flavor and other Pythons have written.
`inspection` tells of a folder without making anything.
"""
