"""The pages that people see in a browser: templates, one stylesheet, and what renders them.

A page is HTML that works without JavaScript, loads nothing and lets nothing in: its stylesheet stands in it and is
allowed by its hash. Decides nothing; `endpoints` says which page is shown and with what.
"""
