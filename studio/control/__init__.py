"""Control: what a picture is told beside its words, by images."""
