"""Publish a trained model on the Hub, proven first: python push_to_hub.py MODEL_DIR --repo-id user/name."""

from attrib_lab.terminal.arguments import CommandParser
from attrib_lab.terminal.errors import run_command


def main() -> None:
    parser = CommandParser(
        description=__doc__,
        epilog="example: python push_to_hub.py outputs/demo --repo-id user/demo --output outputs/demo-bundle. "
        "The login is that of HF_TOKEN or of `hf auth login`.",
    )
    parser.add_argument("model_dir", help="a folder that train.py or `attrib convert` wrote")
    parser.add_argument("--repo-id", required=True, help="the repository, user/name; created if it does not exist")
    parser.add_argument("--output", help="write the bundle to this folder, prove it, and upload nothing")
    parser.add_argument("--dry-run", action="store_true", help="do all but the upload, and say what it would do")
    parser.add_argument("--private", action="store_true", help="the repository must be private")
    parser.add_argument("--branch", help="commit to this branch, made if need be, and not to main")
    parser.add_argument("--tag", help="a tag for the commit, which the card pins; by default one of its content")
    parser.add_argument("--pull-request", action="store_true", help="propose it to the repository's owner")
    parser.add_argument("--license", help="for the model card, e.g. apache-2.0")
    parser.add_argument("--language", help="for the model card, e.g. en")
    parser.add_argument("--base-model", help="for the model card: Hub id of what a converted classifier was")
    parser.add_argument("--example", help="a text that the model card explains; all will read it")
    arguments = parser.parse_args()
    # Only now what takes seconds to import: a misspelt argument has been named.
    from attrib_lab.publishing.bundle import CardOptions
    from attrib_lab.publishing.hub import Destination
    from attrib_lab.publishing.upload import publish
    from attrib_lab.terminal.library_messages import quiet_libraries

    quiet_libraries()
    card = {"license_id": arguments.license, "language": arguments.language, "base_model": arguments.base_model}
    if arguments.example is not None:
        card["example"] = arguments.example
    publish(
        arguments.model_dir,
        Destination(arguments.repo_id, arguments.private, arguments.branch, arguments.tag, arguments.pull_request),
        output=arguments.output,
        dry_run=arguments.dry_run,
        card=CardOptions(**card),
    )


if __name__ == "__main__":
    run_command(main)
