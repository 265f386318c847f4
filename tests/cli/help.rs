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
                let value = value(option);
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

/// What follows the name of an option: ` FILE`, `=FILE`, or `[=FILE]` where it may be left out.
fn value(option: &clap::Arg) -> String {
    let name = value_name(option);
    let values = option.get_num_args();
    let is_optional = values.is_some_and(|values| values.min_values() == 0);
    match (option.is_require_equals_set(), is_optional) {
        _ if !option.get_action().takes_values() => String::new(),
        (true, true) => format!("[={name}]"),
        (true, false) => format!("={name}"),
        (false, true) => format!(" [{name}]"),
        (false, false) => format!(" {name}"),
    }
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
fn the_table_shows_how_values_are_written() {
    let table = command_table();
    for words in ["`--sbom[=DIR]`", "`--sign KEY`", "`--explain`"] {
        assert!(table.contains(words), "{words}: {table}");
    }
}

#[test]
fn help_and_readme_tell_the_same_exit_codes() {
    let is_number = |word: &&str| word.parse::<u8>().is_ok();
    let help = Workspace::empty().run(&["--help"]).stdout;
    let (_, help) = help.split_once("Exit codes:").expect("the exit codes");
    let mut told: Vec<&str> = help.split_whitespace().filter(is_number).collect();
    told.sort_by_key(|code| code.parse::<u8>().ok());
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).expect("the README");
    let (_, rows) = readme.split_once("| exit code |").expect("the table");
    let written: Vec<&str> = rows
        .lines()
        .skip(1)
        .take_while(|row| row.starts_with('|'))
        .filter_map(|row| row.split('|').nth(1).map(str::trim).filter(is_number))
        .collect();
    assert_eq!(told, written);
    // 3 is for `plan`, 8 for load tests: no command ends with them yet.
    assert_eq!(written, ["0", "1", "2", "4", "5", "6", "7", "9", "130"]);
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
