"""Authorizes statements: facts of the text, questions to the policy, edits. Pure.

``judge``        one text -> Verdict; the order of all checks
``closed_world`` kinds of statements, functions, operators, types, settings (``parameters``)
``resolve``      names -> relations; ``search_path``; ``reach`` beyond them; ``protected`` by which policy table
``trust``        code that may run
``reading``      classified relations of a SELECT -> edits; ``secured`` writes the secured relation, ``conditions``
                 its row conditions
``aliases``      names for what they read, ``witness`` what the upstream's plan of it is held against
``session_state`` what earlier statements of a text leave for later ones; the purpose in force
``startup``      may a session begin?
``decisions``    the cache: one look-up for a known statement
"""

from proxy.engine.decisions import ConsentEngine

__all__ = ["ConsentEngine"]
