"""PyTorch's names that nanograd does without, and what to write instead: the end of the message of an AttributeError."""

# The names in a key share a hint, in which {} stands for the name.
_INSTEAD = {
    # torch
    "float16 float32 float64 int32 int64": "name a dtype as NumPy does: '{}'",
    "device cuda cpu to": "there is one device, the CPU: leave it out; for a dtype use astype",
    "eye linspace empty": "use NumPy: nanograd.tensor(numpy.{}(…))",
    "zeros_like ones_like full_like": "use NumPy: nanograd.tensor(numpy.{}(x.data))",
    "randint randperm multinomial": "use a generator of NumPy: rng.integers, rng.permutation or rng.choice",
    "allclose topk sort argsort outer isnan": "use NumPy on the arrays: x.data",
    "from_numpy as_tensor": "use nanograd.Tensor(array), which shares the array",
    "save load": "use numpy.savez on model.state_dict(), and model.load_state_dict(numpy.load(file)); or pickle the model",
    "manual_seed": "there is no global generator: pass rng=0 where numbers are drawn",
    "inference_mode": "use nanograd.no_grad()",
    "autograd": "use nanograd.grad or .backward()",
    "bmm mm dot": "use matmul or @",
    "argmax argmin any all tolist": "use the method x.{}()",
    "t": "use .T",
    "permute": "use transpose(x, axes=(0, 2, 1))",
    "view": "use reshape(x, shape=(2, 3))",
    "unsqueeze": "use expand_dims(x, axis=0)",
    "expand": "use broadcast_to",
    "clamp": "use clip(x, low=…, high=…)",
    # torch.nn
    "ModuleList ModuleDict ParameterList ParameterDict": "a plain list, tuple or dict works: assign it as an attribute",
    "ReLU": "use the function nanograd.relu; Sequential takes functions too",
    "GELU": "use the function nanograd.gelu; Sequential takes functions too",
    "SiLU": "use the function nanograd.silu; Sequential takes functions too",
    "Tanh": "use the function nanograd.tanh; Sequential takes functions too",
    "Sigmoid": "use the function nanograd.sigmoid; Sequential takes functions too",
    "Softmax": "use the function nanograd.softmax(x, axis=-1)",
    "LogSoftmax": "use the function nanograd.log_softmax(x, axis=-1)",
    "CrossEntropyLoss NLLLoss nll_loss": "use nanograd.cross_entropy(logits, targets)",
    "MSELoss mse_loss": "use nanograd.mse(x, target)",
    "layer_norm": "use nanograd.layernorm(x, weight, bias)",
    "MultiheadAttention scaled_dot_product_attention": "use nanograd.attention(q, k, v)",
    "functional": "its functions are in nanograd: nanograd.softmax, nanograd.cross_entropy, …",
    "utils clip_grad_norm_": "use nanograd.clip_grad_norm",
    "init": "write the initial values with weight.copy_(values)",
    # torch.optim
    "Adam": "use AdamW(parameters, lr, weight_decay=0)",
    "lr_scheduler": "assign optimizer.lr before each step",
    # torch.Tensor
    "float double half bfloat16 long int bool type": "use astype, as in .astype('float32')",
    "add_ sub_ mul_ div_ zero_ fill_ normal_ uniform_": "compute a new tensor, or write into .data if nothing is recorded",
    "requires_grad_": "assign .requires_grad, of a module that of each of its parameters",
    "clone contiguous": "no op writes into its operands, so leave it out; an independent leaf is copy.deepcopy(x.detach())",
    "numel": "use .size",
    "dim": "use .ndim",
    "grad_fn is_leaf": "use .node, which is None for a leaf",
    # torch.nn.Module
    "register_buffer register_parameter add_module": "assign it as an attribute; only parameters are saved",
    "apply": "loop over model.modules()",
}
INSTEAD = {name: hint.replace("{}", name) for names, hint in _INSTEAD.items() for name in names.split()}


def missing_name(owner: str, name: str) -> AttributeError:
    """Return the error for an unknown attribute of `owner`, with what to write in place of a name of PyTorch."""
    hint = f"; {INSTEAD[name]}" if name in INSTEAD else ""
    return AttributeError(f"{owner} has no attribute {name!r}{hint}")
