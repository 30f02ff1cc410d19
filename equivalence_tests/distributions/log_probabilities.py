"""Log probabilities of counts and categories in mpmath, like `log_densities` for continuous families."""

from __future__ import annotations

from mpmath import mp, mpf

from equivalence_tests.distributions.log_densities import Number, log_beta, sigmoid


def log_choose(n: Number, k: Number) -> Number:
    return mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1)


def x_log_y(x: Number, y: Number) -> Number:
    return mpf(0) if x == 0 else x * mp.log(y)


def bernoulli(x, probs):
    return mp.log(probs if x else 1 - probs)


def binomial(x, total_count, probs):
    kernel = x_log_y(x, probs) + x_log_y(total_count - x, 1 - probs)
    return log_choose(total_count, x) + kernel


def geometric(x, probs):
    return x_log_y(x, 1 - probs) + mp.log(probs)


def poisson(x, rate):
    return x_log_y(x, rate) - rate - mp.loggamma(x + 1)


def negative_binomial(x, total_count, probs):
    counts = log_choose(total_count + x - 1, x)
    return counts + total_count * mp.log(1 - probs) + x_log_y(x, probs)


def negative_binomial_logits(x, total_count, logits):
    return negative_binomial(x, total_count, sigmoid(logits))


def negative_binomial_mean(x, mean, concentration):
    return negative_binomial(x, concentration, mean / (mean + concentration))


def gamma_poisson(x, concentration, rate):
    return negative_binomial(x, concentration, 1 / (1 + rate))


def beta_binomial(x, concentration1, concentration0, total_count):
    ends = log_beta(concentration1 + x, concentration0 + total_count - x)
    return log_choose(total_count, x) + ends - log_beta(concentration1, concentration0)


def categorical(x, probs):
    return mp.log(probs[int(x)] / sum(probs))


def multinomial(x, probs, total_count=None):
    counts = mp.loggamma(sum(x) + 1) - sum(mp.loggamma(k + 1) for k in x)
    return counts + sum(x_log_y(k, p / sum(probs)) for k, p in zip(x, probs, strict=True))


def dirichlet_multinomial(x, concentration, total_count=None):
    total = sum(concentration)
    ends = mp.loggamma(total) - mp.loggamma(total + sum(x)) + mp.loggamma(sum(x) + 1)
    pairs = zip(x, concentration, strict=True)
    return ends + sum(mp.loggamma(k + a) - mp.loggamma(a) - mp.loggamma(k + 1) for k, a in pairs)


def ordered_logistic(x, predictor, cutpoints):
    edges = [mpf(0), *(sigmoid(c - predictor) for c in cutpoints), mpf(1)]
    return mp.log(edges[int(x) + 1] - edges[int(x)])


def zero_inflated(log_prob, x, gate):
    """Mixture of a point at zero, of probability `gate`, and of counts of the given log density."""
    return mp.log((1 - gate) * mp.exp(log_prob) + (gate if x == 0 else 0))


def zero_inflated_poisson(x, gate, rate):
    return zero_inflated(poisson(x, rate), x, gate)


def zero_inflated_negative_binomial(x, gate, total_count, probs):
    return zero_inflated(negative_binomial(x, total_count, probs), x, gate)


def zero_inflated_negative_binomial_mean(x, gate, mean, concentration):
    return zero_inflated(negative_binomial_mean(x, mean, concentration), x, gate)
