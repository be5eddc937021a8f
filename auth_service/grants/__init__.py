"""One file for each `grant_type` of the token endpoint.

A grant proves who asks and for what, and returns an Authorization. It builds no claims and renders no answer; the
phases that all grants share are the endpoint's, so none can skip one.
"""
