"""Train an attribution-returning classifier, or a head that explains one: python train.py RECIPE [--key value ...]."""

import argparse

from attrib_lab.recipes.help import describe_recipe, describe_recipes
from attrib_lab.recipes.loading import check_files, load_recipe
from attrib_lab.terminal.errors import run_command
from attrib_lab.terminal.progress import silence_other_processes


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    arguments, overrides = parser.parse_known_args()
    if arguments.help or arguments.recipe is None:
        print(describe_recipe(arguments.recipe) if arguments.recipe else describe_recipes())
        return
    recipe = load_recipe(arguments.recipe, overrides)
    check_files(recipe)
    silence_other_processes()
    # Only now what takes long to import: a misspelt argument has been named, and next a misspelt column is.
    if not recipe.explainer:
        from attrib_lab.data.headers import check_headers

        check_headers(recipe.data)
    from attrib_lab.terminal.library_messages import quiet_libraries
    from attrib_lab.trained_heads.training import train_explainer
    from attrib_lab.training.classifier import train

    quiet_libraries()
    (train_explainer if recipe.explainer else train)(recipe, arguments.overwrite)


if __name__ == "__main__":
    run_command(main)
