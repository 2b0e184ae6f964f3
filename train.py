"""Train an attribution-returning classifier, or a head that explains one: python train.py RECIPE [--key value ...]."""

import argparse

from attrib_lab.errors import run_command
from attrib_lab.explanation_training import train_explainer
from attrib_lab.recipes import load_recipe
from attrib_lab.training import train


def main() -> None:
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        epilog="example: python train.py ag_news --train train.parquet --test test.parquet --learning_rate 5e-5",
    )
    parser.add_argument("recipe", help="a YAML file, or the name of one in configuration/")
    parser.add_argument("--overwrite", action="store_true", help="replace what another recipe left in --output_dir")
    arguments, overrides = parser.parse_known_args()
    recipe = load_recipe(arguments.recipe, overrides)
    (train_explainer if recipe.explainer else train)(recipe, arguments.overwrite)


if __name__ == "__main__":
    run_command(main)
