//! Escaping, and the small inline Markdown that captions and paragraphs may use.

use std::fmt::Write;

/// Text as literal Markdown inside a table cell or paragraph.
pub fn escape_markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' => {
                out.push('\\');
                out.push(letter);
            }
            '\n' | '\r' | '\t' => out.push(' '),
            _ => out.push(letter),
        }
    }
    out
}

/// Text inside an HTML element or a double-quoted attribute.
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(letter),
        }
    }
    out
}

/// A link target that can do nothing but lead somewhere: other schemes than http, https and mail
/// become `#`.
pub fn safe_target(target: &str) -> String {
    let lower = target.trim().to_ascii_lowercase();
    let scheme = lower.split(['/', '#', '?']).next().unwrap_or("").split_once(':');
    match scheme {
        None | Some(("http" | "https" | "mailto", _)) => target.trim().to_owned(),
        Some(_) => "#".to_owned(),
    }
}

/// A link target inside Markdown's parentheses.
pub fn escape_target(target: &str) -> String {
    let mut out = String::new();
    for letter in safe_target(target).chars() {
        if letter.is_ascii_control() || " ()<>[]|\\`\"*".contains(letter) {
            let _ = write!(out, "%{:02X}", u32::from(letter));
        } else {
            out.push(letter);
        }
    }
    out
}

/// Inline Markdown (`` `code` ``, `**bold**`, `[text](target)`) as HTML; all else is escaped.
/// A backslash makes the next character literal.
pub fn to_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    let mut bold = false;
    while let Some(letter) = rest.chars().next() {
        if let Some((code, after)) = code_span(rest) {
            let _ = write!(out, "<code>{}</code>", escape_html(code));
            rest = after;
        } else if let Some((words, target, after)) = link(rest) {
            let target = escape_html(&safe_target(target));
            let _ = write!(out, "<a href=\"{target}\">{}</a>", to_html(words));
            rest = after;
        } else if let Some(after) = rest.strip_prefix("**").filter(|a| bold || a.contains("**")) {
            out.push_str(if bold { "</strong>" } else { "<strong>" });
            bold = !bold;
            rest = after;
        } else {
            let literal = rest[letter.len_utf8()..].chars().next();
            let (shown, length) = match (letter, literal) {
                ('\\', Some(next)) if next.is_ascii_punctuation() => (next, 2),
                _ => (letter, letter.len_utf8()),
            };
            // No line break between a number and its percent sign.
            let percent = shown == ' ' && rest[length..].starts_with('%');
            let shown = if percent { '\u{a0}' } else { shown };
            out.push_str(&escape_html(shown.encode_utf8(&mut [0; 4])));
            rest = &rest[length..];
        }
    }
    out
}

fn code_span(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('`')?.split_once('`')
}

fn link(text: &str) -> Option<(&str, &str, &str)> {
    let (words, after) = text.strip_prefix('[')?.split_once("](")?;
    let (target, after) = after.split_once(')')?;
    (!words.contains(['[', ']', '\n'])).then_some((words, target, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_inline_markdown_becomes_html() {
        let found = to_html("a `x < 1` **b & c** [report](report.md#a) \\*d\\*");
        let expected = "a <code>x &lt; 1</code> <strong>b &amp; c</strong> \
            <a href=\"report.md#a\">report</a> *d*";
        assert_eq!(found, expected);
        assert_eq!(to_html("2 ** 3 and ` alone"), "2 ** 3 and ` alone");
    }

    #[test]
    fn invariant_markup_and_dangerous_links_are_inert() {
        let found = to_html("<script>alert(1)</script> [x](javascript:alert(1)) [y](JaVaScRiPt:1)");
        assert!(!found.contains("<script"), "{found}");
        assert!(!found.to_lowercase().contains("href=\"javascript"), "{found}");
        assert_eq!(safe_target("report.md#a:b"), "report.md#a:b");
        assert_eq!(safe_target("https://example.org/a:b"), "https://example.org/a:b");
        assert_eq!(safe_target("data:text/html,x"), "#");
    }

    #[test]
    fn invariant_escaped_markdown_reads_as_it_was() {
        let text = "a|b `c` *d* [e](f) <g> \\ _h_ #i";
        assert_eq!(to_html(&escape_markdown(text)), escape_html(text));
    }
}
