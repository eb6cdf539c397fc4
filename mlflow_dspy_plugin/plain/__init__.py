"""A program as plain data, and back: what JSON holds in place of a pickle.

Scalars and lists stand for themselves, and a mapping with text keys is a JSON object. Everything else
is a node: an object with the key "$", which names its kind (`nodes.SHAPES` is the table of them). A
node that is used more than once has an "id", and a "ref" stands in its further places.

A class or function is named by its path, "module:qualified.name"; a path without module leads into
the source that the model brings with it. `paths` decides which paths may be followed at all.

Writing: `encode` makes nodes of objects, `source` finds the source of what cannot be imported, and
`document` proves that what it wrote comes back the same. Reading: `document` parses, `audit` looks at
all of it without importing anything, and only then `decode` makes objects, `namespace` those of the
source.
"""
