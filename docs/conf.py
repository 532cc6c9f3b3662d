"""The site of the documentation: `make docs`."""

project = "Intermodal"
author = "The Intermodal authors"
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
# Pages link to files of the repository too; on GitHub these lead somewhere, on the site they are downloads.
html_theme = "furo"
html_title = "Intermodal"
html_copy_source = False
html_show_sourcelink = False
exclude_patterns = ["conf.py"]
# A link that leads nowhere fails the build (`-W`).
nitpicky = True
