"""The report: one offline HTML file, and the same charts as still pictures for Markdown.

Data comes in as frames (`data`), becomes a document of sections (`comparison`, `one_run`), whose charts are described
once in a small grammar (`marks`) and drawn twice: by plotly in the page, by matplotlib beside the Markdown.
"""
