//! A setting that is called honoured has somebody who reads it.

use kataract::meta::settings::{broker_settings, topic_settings};

use super::source::{Tree, words};

const SETTINGS: &str = "src/meta/settings/";

/// Settings without a reader: no code names them, or the field that holds the value is used nowhere.
pub fn unread(tree: &Tree) -> Vec<String> {
    let text = |name: &str| tree.sources.iter().find(|source| source.path == format!("{SETTINGS}{name}"));
    let (broker, topic) = (text("broker.rs").expect("broker.rs"), text("topic.rs").expect("topic.rs"));
    let inherited = |name: &str| {
        topic_settings().filter(|one| one.honoured).any(|one| one.synonyms.iter().any(|(synonym, _)| *synonym == name))
    };
    let mut findings = Vec::new();
    let of_broker = broker_settings().map(|setting| (setting, &broker.text));
    let of_topic = topic_settings().map(|setting| (setting, &topic.text));
    for (setting, holder) in of_broker.chain(of_topic).filter(|(setting, _)| setting.honoured) {
        let name = setting.name;
        let quoted = format!("\"{name}\"");
        let outside_tables = tree.sources.iter().filter(|source| !source.path.starts_with("src/meta/settings/table/"));
        let named =
            outside_tables.filter(|source| !source.product.is_empty()).any(|source| source.text.contains(&quoted));
        if !named && !inherited(name) {
            findings.push(format!("{name}: nobody reads it; honour it, or say `no` in its row"));
        }
        if let Some(field) = field_of(holder, &quoted).filter(|field| !is_used(tree, field)) {
            findings.push(format!("{name}: {field} is filled and never used; honour it, or say `no` in its row"));
        }
    }
    findings
}

/// The field that takes the value: `field: r.number("the.name"),`.
fn field_of(text: &str, quoted: &str) -> Option<String> {
    text.lines().filter(|line| line.contains(quoted)).find_map(|line| {
        let (field, rest) = line.trim().split_once(": ")?;
        let is_name = field.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        (is_name && (rest.starts_with("r.") || rest.starts_with("v."))).then(|| field.to_owned())
    })
}

fn is_used(tree: &Tree, field: &str) -> bool {
    let others = tree.sources.iter().filter(|source| !source.path.starts_with(SETTINGS));
    let access = format!(".{field}");
    others.map(|source| &source.product).any(|product| words(product, &access).next().is_some())
}
