"""Losses for networks whose logits cannot grow at will: pure functions of logits and labels.

Units and conventions, the same in every file; other libraries have others of the same names.

- A loss is in the units of its logits.  A **temperature** T divides them and multiplies the result
  back, so a gradient keeps its size at any T.  The literature's τ, and torchlip's, is 1 / T.
- A **margin** m is what one logit, or one gap, is asked to reach: the hinge is max(0, m - value).
  torchlip's `min_margin` is twice that, as it counts from -m to m.
- **α** weighs the hinge against the Kantorovich-Rubinstein term: -KR + α · hinge, as in the papers.
  torchlip's alpha is α / (1 + α), and its loss is ours divided by 1 + α.
- An **offset** handicaps the true class, in logit units, before any temperature.

Which logits a loss is given, see `choice`.
"""
