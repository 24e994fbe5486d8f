"""Networks whose weights can be binary."""

from cl_bnn.nn.mlp import MLP, binary_parameters, init_latent, mlp, real_parameters

__all__ = ["MLP", "binary_parameters", "init_latent", "mlp", "real_parameters"]
