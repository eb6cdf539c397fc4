"""What predictors say <-> versions of prompts in MLflow's registry.

Reading down: `wording` is the text of a prompt, `values` and `predictors` what stands in it for a predictor,
`versions` where it is in the registry, `register` and `load` the two ways.
"""
