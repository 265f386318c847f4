//! Help, version, and the table of commands in the README, which is written from clap's own definitions.

use clap::CommandFactory;

use crate::workspace::Workspace;

const START: &str = "<!-- commands: written by `UPDATE=1 cargo test --test cli` -->\n";
const END: &str = "<!-- end of commands -->";

fn command_table() -> String {
    let mut table = String::from("| command | does |\n|---|---|\n");
    for command in stackctl::cli::Cli::command().get_subcommands() {
        let positional: Vec<String> = command
            .get_positionals()
            .map(|argument| format!(" [{}]", value_name(argument)))
            .collect();
        let options: Vec<String> = command
            .get_opts()
            .filter_map(|option| {
                let long = option.get_long()?;
                let value = if option.get_action().takes_values() {
                    format!(" {}", value_name(option))
                } else {
                    String::new()
                };
                Some(format!("`--{long}{value}`"))
            })
            .filter(|option| option != "`--service NAME`")
            .collect();
        let about = command
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        let options = if options.is_empty() {
            String::new()
        } else {
            format!(": {}", options.join(", "))
        };
        table.push_str(&format!(
            "| `{}{}` | {about}{options} |\n",
            command.get_name(),
            positional.concat()
        ));
    }
    table
}

fn value_name(argument: &clap::Arg) -> String {
    argument
        .get_value_names()
        .and_then(|names| names.first())
        .map(ToString::to_string)
        .unwrap_or_default()
}

#[test]
fn the_readme_lists_the_commands() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).expect("the README");
    let (before, rest) = readme.split_once(START).expect("the start of the table");
    let (_, after) = rest.split_once(END).expect("the end of the table");
    let wanted = format!("{before}{START}{}{END}{after}", command_table());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, wanted).expect("the README is written");
    } else {
        assert!(
            readme == wanted,
            "the table is out of date: run `UPDATE=1 cargo test --test cli`"
        );
    }
}

#[test]
fn version_and_help_go_to_stdout() {
    let run = Workspace::empty().run(&["--version"]);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, concat!("stackctl ", env!("CARGO_PKG_VERSION"), "\n"))
    );
    let run = Workspace::empty().run(&["--help"]);
    assert_eq!(run.code, 0);
    for words in ["up ", "port-forward", "Exit codes:", "--cluster"] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    assert!(run.stderr.is_empty());
}
