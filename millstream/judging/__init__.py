"""Which of two models is better, judged on the labels of the same rows."""
