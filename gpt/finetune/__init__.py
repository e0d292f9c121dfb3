"""A pretrained model made useful: a classifier, an assistant, and the small matrices that are trained instead of it."""
