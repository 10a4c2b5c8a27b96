//! What people read first.

use crate::support::run;

#[test]
fn help_lists_the_commands_and_every_exit_code() {
    let help = run(["--help"]).good();
    for command in ["init", "append", "status", "cat", "verify", "dump", "consume", "doctor", "forget"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is missing:\n{help}");
    }
    for code in ["0", "1", "2", "64", "65", "66", "69", "73", "74", "75", "76", "130", "143"] {
        assert!(help.contains(&format!("\n  {code:<5}")), "{code} is missing:\n{help}");
    }
    assert_eq!(run(["--version"]).good(), format!("zoutbox {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_command_explains_itself_with_an_example_or_its_fields() {
    for command in ["append", "status", "cat", "verify", "dump", "consume", "doctor", "forget"] {
        let help = run([command, "--help"]).good();
        assert!(help.contains("Example") || help.contains("Fields of"), "{help}");
        assert!(help.contains("Exit codes: 0"), "{help}");
    }
}

#[test]
fn wrong_usage_is_one_line() {
    assert!(run::<&str>([]).code.is_some_and(|code| code == 64));
    let complaint = run(["frobnicate"]).complaint(64);
    assert!(complaint.contains("'frobnicate'"), "{complaint}");
    let complaint = run(["cat", "--root", "x", "--nonsense"]).complaint(64);
    assert!(complaint.contains("'--nonsense'"), "{complaint}");
    assert!(run(["cat"]).complaint(64).contains("--root <ROOT>"));
}
