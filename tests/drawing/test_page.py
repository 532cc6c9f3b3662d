"""A page of figures escapes its texts and loads nothing."""

from html.parser import HTMLParser

from intermodal.drawing.figures import learning_curves
from intermodal.drawing.page import page

HISTORY = {"loss": [0.6, 0.5], "val_loss": [0.61, None], "epoch": [0, 1], "<i>mine</i>": [1.0, 2.0]}


class _Read(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.attributes = [], [], {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.attributes.update(attrs)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))


def test_each_curve_is_drawn_beside_its_validation_counterpart_with_names_escaped():
    read = _Read(page("Curves & more", learning_curves(HISTORY), "None."))
    assert not read.open
    assert [text for tag, text in read.texts if tag == "h3"] == ["Learning: loss", "Learning: <i>mine</i>"]
    assert ("h1", "Curves & more") in read.texts
    assert ("figcaption", "2 epochs; best validation value 0.610 in epoch 1.") in read.texts
    assert not {"src", "href", "xlink:href"} & set(read.attributes)


def test_a_page_without_figures_says_so():
    assert ("p", "There are none.") in _Read(page("Curves", learning_curves({"loss": [float("nan")]}), "There are none.")).texts
