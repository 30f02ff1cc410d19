"""Mechanical mistakes that the verifier does not report, each with the reason why it need not."""

from __future__ import annotations

VECTOR = "the transpose of a vector is the vector"
NORMALISED = "the distribution normalises its probs"
STANDARDISED = "the data are standardised next: a factor of all of them cancels"
ONE_AXIS = "the array is a vector: its first axis is its last"
SAME_AXIS = "the array is a matrix: its first axis is also the last but one"
FIRST_VALUE = "a parameter's first value: programs are compared at shared values"
LAST_DIGITS = (
    "1e-11 more beside a variance of order one: less than the last digits that are compared"
)

SURVIVORS: dict[str, str] = {
    "autoguides:pyro_model:transposed: x @ slopes → x @ slopes.T": VECTOR,
    "factors:pyro_model:transposed: basis @ weights → basis @ weights.T": VECTOR,
    "hierarchical_regression:pyro_model:transposed: x @ beta → x @ beta.T": VECTOR,
    "hierarchical_regression:numpyro_model:transposed: x @ beta → x @ beta.T": VECTOR,
    "horseshoe:pyro_model:transposed: x @ beta → x @ beta.T": VECTOR,
    "minibatch_logistic:pyro_model:transposed: x[i] @ w → x[i] @ w.T": VECTOR,
    "rewritten:pyro_model:transposed: x @ w → x @ w.T": VECTOR,
    "large_counts:pyro_model:argument_1_percent: pdist.Multinomial(int(votes.sum(-1).max()), shares)"
    " → pdist.Multinomial(int(votes.sum(-1).max()), 1.01 * shares)": NORMALISED,
    "mixture:pyro_model:argument_1_percent: pdist.Categorical(weights)"
    " → pdist.Categorical(1.01 * weights)": NORMALISED,
    "zero_inflation:pyro_model:argument_1_percent: "
    "pdist.Categorical(torch.stack([weight, 1.0 - weight]))"
    " → pdist.Categorical(1.01 * torch.stack([weight, 1.0 - weight]))": NORMALISED,
    "item_latents:pyro_classes:argument_1_percent: pdist.Categorical(weights)"
    " → pdist.Categorical(1.01 * weights)": NORMALISED,
    "item_latents:pyro_series:argument_1_percent: pdist.Normal(start, 1.0)"
    " → pdist.Normal(1.01 * start, 1.0)": "the start is zero, and so is a hundredth more of it",
    "prepared_data:pyro_model:opposite: counts / 100.0 → counts * 100.0": STANDARDISED,
    "prepared_data:pyro_model:constant_1_percent: 100.0 → 101.0": STANDARDISED,
    "prepared_data:numpyro_model:opposite: counts / 100.0 → counts * 100.0": STANDARDISED,
    "joint_autoguides:pyro_model:other_axis: effects.sum(-2) → effects.sum(0)": SAME_AXIS,
    "joint_autoguides:pyro_reordered_model:other_axis: effects.sum(-2) → effects.sum(0)": SAME_AXIS,
    "contributed:Forecast:other_axis: step.cumsum(-1) → step.cumsum(0)": ONE_AXIS,
    "contributed:make_regression:constant_1_percent: 1.2 → 1.212": FIRST_VALUE,
    "contributed:make_regression:constant_1_percent: 0.7 → 0.707": FIRST_VALUE,
    "contributed:make_regression:constant_1_percent: 0.3 → 0.303": FIRST_VALUE,
    "eight_schools:make_pyro_auto:constant_1_percent: 1.0 → 1.01": FIRST_VALUE,
    "eight_schools:make_pyro_auto:constant_1_percent: 2.0 → 2.02": FIRST_VALUE,
    "eight_schools:make_pyro_auto:constant_1_percent: 0.2 → 0.202": FIRST_VALUE,
    "vae:LinenEncoder:constant_1e_minus_6: 1e-5 → 1.000001e-05": LAST_DIGITS,
    "vae:NnxEncoder:constant_1e_minus_6: 1e-5 → 1.000001e-05": LAST_DIGITS,
    "extreme_scales:pyro_model:constant_1_percent: 0.0 → 0.010000000000000009 #1": "0.01 of a prior's "
    "mean whose scale is 1e9: the density moves by 1e-12, its last digits",
    "extreme_scales:numpyro_model:constant_1e_minus_6: 0.0 → 9.999999999177334e-07": "a millionth of a "
    "prior's mean whose scale is 1e9: the density moves by less than its last digit",
    "gaussian_process:pyro_model:opposite: noise**2 + jitter → noise ** 2 - jitter": "the jitter of "
    "1e-10 against a noise of ordinary size: no number moves by the 5e-10 that can be seen",
}
