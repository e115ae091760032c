"""Defaults that belong to another setting: what an optimizer asks of the learning rate and the weight decay.

A recipe names its rate for AdamW. Whoever chooses another optimizer gets the values that mean the same there, and the
reason; no torch here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Coupling:
    """What follows from an optimizer.

    Fields:
        rate: The learning rate, whatever AdamW's would be; None where it is AdamW's times `factor`.
        factor, decay: On AdamW's learning rate and weight decay.
        one_rate: It finds one rate for all that learns: text_learning_rate is learning_rate, and lora_plus is 1.
        reason, source: For a person.
    """

    rate: float | None = None
    factor: float = 1.0
    decay: float = 1.0
    one_rate: bool = False
    reason: str = ""
    source: str = ""

    def rate_for(self, adamw: float) -> float:
        """The learning rate where AdamW would take this one."""
        return self.rate if self.rate is not None else adamw * self.factor


COUPLINGS = {
    "adamw": Coupling(reason="The recipes name their rates for it.", source="Loshchilov and Hutter, arXiv:1711.05101"),
    "adamw8bit": Coupling(
        reason="It keeps its states in 8 bits, which takes a quarter of their memory, and learns like AdamW.",
        source="Dettmers et al., arXiv:2110.02861",
    ),
    "prodigy": Coupling(
        rate=1.0,
        one_rate=True,
        reason="It finds the rate itself; learning_rate only multiplies what it finds.",
        source="Mishchenko and Defazio, arXiv:2306.06101",
    ),
    "adafactor": Coupling(
        reason="With a rate that is given it learns like AdamW, and keeps a row and a column in place of a matrix.",
        source="Shazeer and Stern, arXiv:1804.04235",
    ),
    "lion": Coupling(
        factor=0.2,
        decay=5.0,
        reason="Its steps all have full length: it takes a third to a tenth of AdamW's rate, and as much more decay.",
        source="Chen et al., arXiv:2302.06675, section 5",
    ),
}
