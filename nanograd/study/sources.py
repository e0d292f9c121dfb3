"""Where to read on: for every op the paper, or the chapter of a textbook, that introduced it or derives its gradient."""

from nanograd.op import OPS

SOURCES = (
    (
        "Spivak 2008, Calculus, 4th edition, chapter 10: derivatives of sums, products, quotients, powers and compositions",
        "add sub mul div neg square reciprocal sqrt rsqrt pow mean mse prod",
    ),
    (
        "Abramowitz and Stegun 1964, Handbook of Mathematical Functions, 4.1 to 4.5 (logarithm, exponential, circular and "
        "hyperbolic functions) and 7.1 (error function)",
        "exp log sin cos tanh sigmoid erf pow",
    ),
    (
        "Griewank and Walther 2008, Evaluating Derivatives, 2nd edition, chapter 3 (reverse mode: a variable that is used "
        "several times gets the sum) and chapter 14 (kinks)",
        "add sub mul div sum mean max min maximum minimum clip abs where masked_fill cumsum getitem take_along_axis "
        "scatter scatter_add concat stack repeat broadcast_to reshape transpose expand_dims squeeze pad flip roll tril "
        "triu astype",
    ),
    (
        "Harris et al. 2020, Array programming with NumPy, Nature 585, 357–362: broadcasting, indexing, views",
        "reshape transpose expand_dims squeeze broadcast_to getitem concat stack pad repeat flip roll take_along_axis "
        "where tril triu astype",
    ),
    (
        "Giles 2008, Collected matrix derivative results for forward and reverse mode algorithmic differentiation, "
        "section 2: products of matrices",
        "matmul linear",
    ),
    (
        "Laue, Mitterreiter and Giesen 2018, Computing higher order derivatives of matrix and tensor expressions, NeurIPS",
        "einsum",
    ),
    (
        "Rumelhart, Hinton and Williams 1986, Learning representations by back-propagating errors, Nature 323, 533–536",
        "linear sigmoid",
    ),
    ("Nair and Hinton 2010, Rectified linear units improve restricted Boltzmann machines, ICML", "relu"),
    ("Hendrycks and Gimpel 2016, Gaussian error linear units, arXiv:1606.08415", "gelu gelu_tanh"),
    ("Elfwing, Uchibe and Doya 2017, Sigmoid-weighted linear units, arXiv:1702.03118", "silu"),
    ("Shazeer 2020, GLU variants improve Transformer, arXiv:2002.05202", "swiglu"),
    ("Srivastava et al. 2014, Dropout, Journal of Machine Learning Research 15, 1929–1958", "dropout"),
    ("Bengio et al. 2003, A neural probabilistic language model, Journal of Machine Learning Research 3", "embedding"),
    (
        "Bishop 2006, Pattern Recognition and Machine Learning, section 4.3.4, equation 4.106",
        "softmax log_softmax cross_entropy",
    ),
    (
        "Boyd and Vandenberghe 2004, Convex Optimization, section 3.1.5: norms, the maximum and log-sum-exp",
        "logsumexp log_softmax norm max",
    ),
    ("Casella and Berger 2002, Statistical Inference, 2nd edition, section 5.2: the variance of a sample", "var std"),
    ("Ba, Kiros and Hinton 2016, Layer normalization, arXiv:1607.06450", "layernorm"),
    ("Zhang and Sennrich 2019, Root mean square layer normalization, arXiv:1910.07467", "rmsnorm"),
    ("Vaswani et al. 2017, Attention is all you need, arXiv:1706.03762", "attention packed_attention"),
    (
        "Ainslie et al. 2023, GQA: Training generalized multi-query Transformer models, arXiv:2305.13245",
        "attention packed_attention",
    ),
    ("Jiang et al. 2023, Mistral 7B, arXiv:2310.06825, section 2: the sliding window", "attention packed_attention"),
    ("Krell et al. 2021, Efficient sequence packing, arXiv:2107.02027: segments", "attention packed_attention"),
    ("Dao et al. 2022, FlashAttention, arXiv:2205.14135", "attention packed_attention"),
    ("Su et al. 2021, RoFormer: Enhanced Transformer with rotary position embedding, arXiv:2104.09864", "rope"),
    ("Szegedy et al. 2016, Rethinking the Inception architecture, arXiv:1512.00567: label smoothing", "cross_entropy"),
    ("Chowdhery et al. 2022, PaLM, arXiv:2204.02311, section 5: the z-loss", "cross_entropy"),
    (
        "Hsu et al. 2024, Liger Kernel: Efficient Triton kernels for LLM training, arXiv:2410.10989, section 3.2: the "
        "loss in chunks",
        "linear_cross_entropy",
    ),
    ("Rafailov et al. 2023, Direct preference optimization, arXiv:2305.18290", "dpo"),
)  # a source, and the ops it is about


def sources(name: str) -> list[str]:
    """Return the sources of an op; every op has at least one."""
    if name not in OPS:
        raise ValueError(f"sources: there is no op called {name!r}")
    return [source for source, ops in SOURCES if name in ops.split()]
