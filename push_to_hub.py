"""Publish a trained model on the Hub, proven first: python push_to_hub.py MODEL_DIR --repo-id user/name."""

from attrib_lab.terminal.arguments import CommandParser
from attrib_lab.terminal.errors import run_command


def main() -> None:
    parser = CommandParser(
        description=__doc__,
        epilog="example: python push_to_hub.py outputs/demo --repo-id user/demo --output outputs/demo-bundle",
    )
    parser.add_argument("model_dir", help="a folder that train.py wrote")
    parser.add_argument("--repo-id", required=True, help="the repository, user/name; created if it does not exist")
    parser.add_argument("--output", help="write the bundle to this folder, prove it, and upload nothing")
    parser.add_argument("--private", action="store_true", help="the repository must be private")
    parser.add_argument("--license", help="for the model card, e.g. apache-2.0")
    parser.add_argument("--language", help="for the model card, e.g. en")
    parser.add_argument("--example", help="a text that the model card explains; all will read it")
    arguments = parser.parse_args()
    # Only now what takes seconds to import: a misspelt argument has been named.
    from attrib_lab.publishing.upload import publish
    from attrib_lab.terminal.library_messages import quiet_libraries

    quiet_libraries()
    publish(
        arguments.model_dir,
        arguments.repo_id,
        output=arguments.output,
        private=arguments.private,
        license_id=arguments.license,
        language=arguments.language,
        example=arguments.example,
    )


if __name__ == "__main__":
    run_command(main)
