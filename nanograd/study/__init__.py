"""Study the backward pass of an op: its derivation checked line by line, worked examples, mistakes, on a page or as text.

Read in this order: notation/ (a printed line as a tree, and back as text, MathML and NumPy); derivation (the lines of a
docstring); draw and reasons/ (why each line holds, and an example); line_code, helpers, evaluator, line_check (each line as
code, evaluated and compared); program (the lines in an order in which they run); headline (an op in one formula), sources.
Then what a page shows: worked_example, mistakes, study_data, text; step_size_plot, markup, projection (a picture of the
norms), sections, evidence; course (the order of pages), table_of_ops, map, page. Then lesson and topics/, the pages about
what is no op, book/, the reference to print, and command. drills/ are the exercises.
"""
