//! Builds the client programs into `target/clients/` with each language's own tools, once per content of their sources.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, io};

use crate::running::skipped;

/// Whose client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    Librdkafka,
    Java,
    Go,
    Node,
    Python,
}

/// Why a program cannot run here.
#[derive(Clone, Debug)]
pub enum Missing {
    Tool(String),
    Build(String),
}

fn out(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("tmp lies in target").join("clients").join(folder)
}

fn source(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(folder)
}

impl Client {
    /// The program, without bootstrap and scenario. `None`, with one line about it, when it cannot be had here; a panic
    /// when it must be had (`KATARACT_REQUIRE_CLIENTS=1`).
    pub fn command(self) -> Option<Command> {
        if let Err(missing) = self.built() {
            let why = match missing {
                Missing::Tool(tool) => format!("{self:?} client, {tool} is not installed"),
                Missing::Build(why) => format!("{self:?} client does not build: {why}"),
            };
            assert!(env::var_os("KATARACT_REQUIRE_CLIENTS").is_none_or(|v| v == "0"), "{why}");
            skipped(&why);
            return None;
        }
        Some(match self {
            Client::Librdkafka => unreachable!("librdkafka runs inside the test process"),
            Client::Java => java("clients.Main"),
            Client::Go => Command::new(out("go").join("client")),
            Client::Python => {
                let mut command = Command::new(out("python").join("bin/python"));
                command.arg("-u").arg(source("python").join("client.py"));
                command
            }
            Client::Node => {
                let mut command = Command::new("node");
                command.arg(out("node").join("client.js"));
                command
            }
        })
    }

    fn built(self) -> Result<(), Missing> {
        static BUILT: [OnceLock<Result<(), Missing>>; 5] = [const { OnceLock::new() }; 5];
        BUILT[self as usize].get_or_init(|| self.build()).clone()
    }

    fn build(self) -> Result<(), Missing> {
        match self {
            Client::Librdkafka => Ok(()),
            Client::Java => once("java", &["java", "mvn"], |from, to| {
                let mut maven = Command::new("mvn");
                maven.args(["-q", "-B", "-f"]).arg(from.join("pom.xml")).arg(format!("-Dout={}", to.display()));
                run(maven.args(["compile", "dependency:copy-dependencies", "-DincludeScope=runtime"]))
            }),
            Client::Go => once("go", &["go"], |from, to| {
                run(Command::new("go").current_dir(from).arg("build").arg("-o").arg(to.join("client")).arg("."))
            }),
            Client::Node => once("node", &["node", "npm"], |from, to| {
                for name in ["package.json", "package-lock.json", "client.js"] {
                    fs::copy(from.join(name), to.join(name)).map_err(|error| format!("{name}: {error}"))?;
                }
                run(Command::new("npm").current_dir(to).args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]))
            }),
            Client::Python => once("python", &["python3"], |from, to| {
                run(Command::new("python3").args(["-m", "venv"]).arg(to))?;
                let mut pip = Command::new(to.join("bin/python"));
                run(pip.args(["-m", "pip", "install", "-q", "-r"]).arg(from.join("requirements.txt")))
            }),
        }
    }
}

/// A Java program with everything that Maven fetched on its class path, in a small, quickly started machine.
pub fn java(class: &str) -> Command {
    let mut command = Command::new("java");
    let path = format!("{}:{}/*", out("java").join("classes").display(), out("java").join("dependency").display());
    command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &path, class]);
    command
}

/// Builds unless the last build was of the same sources.
fn once(folder: &str, tools: &[&str], build: impl FnOnce(&Path, &Path) -> Result<(), String>) -> Result<(), Missing> {
    for tool in tools {
        if !installed(tool) {
            return Err(Missing::Tool((*tool).to_owned()));
        }
    }
    let (from, to) = (source(folder), out(folder));
    let failed = |error: io::Error| Missing::Build(error.to_string());
    fs::create_dir_all(&to).map_err(failed)?;
    let mut hasher = DefaultHasher::new();
    hash_folder(&from, &mut hasher).map_err(failed)?;
    let wanted = format!("{:016x}", hasher.finish());
    let stamp = to.join("built-from");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    build(&from, &to).map_err(Missing::Build)?;
    fs::write(&stamp, wanted).map_err(failed)
}

fn installed(tool: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(tool).is_file()))
}

fn hash_folder(folder: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        path.hash(hasher);
        if path.is_dir() {
            hash_folder(&path, hasher)?;
        } else {
            fs::read(&path)?.hash(hasher);
        }
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(format!("{command:?} ended with {}:\n{}", output.status, String::from_utf8_lossy(&text)))
}
