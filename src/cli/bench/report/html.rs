//! The few forms of HTML that a report needs. Every text goes through [`escape`]: names, settings and error messages
//! come from command lines, files and brokers.

/// Text for an element or a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for symbol in text.chars() {
        match symbol {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Not allowed in a document at all; shown as the sign for it.
            '\0' => safe.push('\u{fffd}'),
            _ => safe.push(symbol),
        }
    }
    safe
}

/// A table with a first row of titles; the first column names the row, the others hold figures.
pub fn table(class: &str, titles: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!("<div class=\"scroll\"><table class=\"{class}\">");
    if !titles.is_empty() {
        let cells: String = titles.iter().map(|title| format!("<th scope=\"col\">{}</th>", escape(title))).collect();
        text.push_str(&format!("<thead><tr>{cells}</tr></thead>"));
    }
    text.push_str("<tbody>");
    for row in rows {
        let cells: String = row
            .iter()
            .enumerate()
            .map(|(at, cell)| match at {
                0 => format!("<th scope=\"row\">{}</th>", escape(cell)),
                _ => format!("<td>{}</td>", escape(cell)),
            })
            .collect();
        text.push_str(&format!("<tr>{cells}</tr>"));
    }
    text.push_str("</tbody></table></div>");
    text
}

/// A heading and what stands below it.
pub fn section(title: &str, lead: &str, body: &str) -> String {
    let lead = if lead.is_empty() { String::new() } else { format!("<p>{}</p>", escape(lead)) };
    format!("<section><h2>{}</h2>{lead}{body}</section>", escape(title))
}

/// The look of a page: readable in light and in dark, printed as in light.
pub const STYLE: &str = "
:root{color-scheme:light dark;--back:#fff;--fore:#1c2330;--soft:#5a6577;--line:#d7dde6;--card:#f5f7fa;
--cool:#eef4fb;--warm:#7db4e6;
--c0:#0b63b5;--c1:#c4530a;--c2:#117a4f;--c3:#a13ea0;--c4:#8a6a00;--c5:#0d7f8c;--c6:#b3273e;--c7:#5b5f6b}
@media (prefers-color-scheme:dark){:root{--back:#12161d;--fore:#e6eaf0;--soft:#9aa5b5;--line:#2e3744;--card:#1a2029;
--cool:#1b2531;--warm:#1f6396;
--c0:#6db3f7;--c1:#ff9d57;--c2:#4fcf9a;--c3:#e394e2;--c4:#e3c14a;--c5:#4fd0de;--c6:#ff8294;--c7:#b4b9c4}}
*{box-sizing:border-box}
body{margin:0 auto;padding:24px;max-width:1080px;background:var(--back);color:var(--fore);
font:15px/1.5 system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:40px 0 4px}h3{font-size:15px;margin:20px 0 6px}
p{margin:0 0 12px;color:var(--soft);max-width:75ch}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:13.5px;font-variant-numeric:tabular-nums}
th,td{padding:5px 12px 5px 0;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}
th:first-child{text-align:left}
thead th{color:var(--soft);font-weight:600;vertical-align:bottom}
tbody th{font-weight:600}
.wide td{white-space:pre}
.facts td,.facts th{text-align:left}.facts th{white-space:nowrap}.facts td{overflow-wrap:anywhere}
.bars{width:100%}.bars th{width:34%;overflow-wrap:anywhere}.bars td:nth-child(2){width:44%}
.bars td:last-child{padding-right:0}
.bars svg{display:block;width:100%;height:18px}
.heat th,.heat td{border:1px solid var(--line);padding:6px 10px;text-align:center}
.heat th{text-align:left}.heat thead th{text-align:center}.heat thead th:first-child{text-align:left}
.heat td{background:color-mix(in srgb,var(--warm) calc(var(--v)*100%),var(--cool));color:var(--fore);min-width:88px}
svg.plot{display:block;width:100%;height:auto;background:var(--card);border-radius:6px}
svg text{fill:var(--soft);font:12px system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}
svg .grid{stroke:var(--line);stroke-width:1}svg .axis{stroke:var(--soft);stroke-width:1}
svg .curve{fill:none;stroke-width:2;stroke-linejoin:round}
svg .whisker{stroke:var(--fore);stroke-width:1.5;vector-effect:non-scaling-stroke}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;list-style:none;margin:8px 0 0;padding:0;font-size:13.5px}
.legend li{display:flex;align-items:center;gap:7px;overflow-wrap:anywhere}.legend svg{flex:none;width:26px;height:8px}
.s0{stroke:var(--c0)}.s1{stroke:var(--c1)}.s2{stroke:var(--c2)}.s3{stroke:var(--c3)}
.s4{stroke:var(--c4)}.s5{stroke:var(--c5)}.s6{stroke:var(--c6)}.s7{stroke:var(--c7)}
.f0{fill:var(--c0)}.f1{fill:var(--c1)}.f2{fill:var(--c2)}.f3{fill:var(--c3)}
.f4{fill:var(--c4)}.f5{fill:var(--c5)}.f6{fill:var(--c6)}.f7{fill:var(--c7)}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        let bad = "<script>alert('x')</script>&\"\0";
        let safe = escape(bad);
        assert_eq!(safe, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;\u{fffd}");
        for made in [table("t", &[bad], &[vec![bad.to_owned(), bad.to_owned()]]), section(bad, bad, "")] {
            assert!(!made.contains("<script") && made.contains("&lt;script"), "{made}");
        }
    }
}
