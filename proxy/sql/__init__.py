"""SQL text -> facts -> edits -> text. The only room that knows the parsers; pure.

``grammar``     libpg_query, PostgreSQL's own grammar: it has the word on what a statement is
``tree``        walking its parse trees
``relations``   which relations a statement names, with WITH scoping
``names``       which functions, operators, types and columns it names
``facts``       all of that for one text, and what each statement does to the session
``comments``    purposes declared in comments (sqlcommenter)
``normalize``   the text without its literals, for the audit
``reader``      sqlglot, the second reader: it must find the same relations
``splice``      edits by byte offset
``proof``       after splicing, the tree is the old one but for the intended edits
``quote``       identifiers and literals as SQL
"""
