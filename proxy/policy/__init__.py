"""The policy: what the file says, and what it decides.

    loader.load(path)               a file -> Policy, or every mistake with its place
    decision.decide(policy, ...)    one column for one role, purpose and use -> Decision
    model                           what Policy and Decision are

On the way from text to Policy: ``document`` (YAML with positions), ``schema`` and ``mask_form`` with ``validate``
(shape), ``files`` (what a file extends), ``references`` (what names mean), ``floor`` (tighten only; what packs demand),
``masking``, ``build``. A new key goes into ``schema``, ``model`` and ``build``, and into ``unenforced`` until something
obeys it.
"""
