//! One line of JSON: its text field, or what is wrong with it and what to do about that.

use serde_json::{Map, Value};

/// Fields that a hint lists.
const LISTED: usize = 8;

/// The string in `field` of the object that `line` is, else problem and remedy. `among_good`: lines
/// before it were read, so that this one alone is bad and the field is the right one.
pub(super) fn field_of(
    line: &str,
    field: &str,
    among_good: bool,
) -> std::result::Result<String, (String, String)> {
    let value: Value = serde_json::from_str(line).map_err(|error| {
        let (cause, remedy) = cause(line, &error);
        (format!("not valid JSON: {cause}"), remedy)
    })?;
    let Value::Object(mut object) = value else {
        let kind = kind(&value);
        return Err((
            format!("not a JSON object but {kind}"),
            format!("write {{\"{field}\": \"...\"}}; of a list of objects: jq -c '.[]' FILE"),
        ));
    };
    let problem = match object.shift_remove(field) {
        Some(Value::String(text)) => return Ok(text),
        Some(other) => format!("field {field:?} is {}, not a string", kind(&other)),
        None => format!("no field {field:?}"),
    };
    Err((problem, remedy(&object, field, among_good)))
}

/// What to do about a line without text in `field`.
fn remedy(object: &Map<String, Value>, field: &str, among_good: bool) -> String {
    if among_good {
        return format!(
            "the lines before it have one: leave this line out, or give it a string in {field:?}"
        );
    }
    let strings = object.iter().filter(|(_, value)| value.is_string()).map(|(name, _)| name);
    let strings: Vec<&String> = strings.take(LISTED).collect();
    if strings.is_empty() {
        return format!("no field of this line holds a string: write {{\"{field}\": \"...\"}}");
    }
    format!("set data.paths.text_field to one of {strings:?}, which hold strings here")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Why `line` is no JSON, and the remedy.
fn cause(line: &str, error: &serde_json::Error) -> (String, String) {
    let message = error.to_string();
    let line = line.trim();
    let with = |cause: &str, remedy: &str| (format!("{cause} ({message})"), remedy.to_owned());
    if let Some(word) = bare_word(line, &["NaN", "-Infinity", "Infinity"]) {
        return with(
            &format!("{word} is no JSON"),
            "Python's json writes it unless told allow_nan=False: leave the field out, or write \
             null in its place",
        );
    }
    if let Some(word) = bare_word(line, &["None", "True", "False"]) {
        return with(
            &format!("{word} is Python, not JSON"),
            "write the lines with json.dumps(row), not with str(row)",
        );
    }
    let contains = |part: &str| message.contains(part);
    if contains("surrogate") || contains("unexpected end of hex escape") {
        return with(
            "half of a surrogate pair is no character",
            "leave the line out, or repair the text: in Python \
             text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')",
        );
    }
    if contains("number out of range") {
        return with("a number is too large", "leave its field out, or write it as a string");
    }
    if contains("recursion limit") {
        return with("nested too deeply", "leave the nested field out");
    }
    if contains("control character") {
        return with(
            "a control character stands in a string as it is",
            "write it as an escape (\\t, \\n, \\u0000), as json.dumps does",
        );
    }
    if contains("key must be a string") && line.contains('\'') {
        return with(
            "names and strings need double quotes",
            "write the lines with json.dumps(row), not with str(row)",
        );
    }
    if contains("EOF") {
        return match line {
            "{" | "[" => with(
                "an object goes on in the next line",
                "write every object on one line: jq -c . FILE, or of a list jq -c '.[]' FILE",
            ),
            _ => with(
                "the line ends inside a value",
                "was the file copied whole? leave a line that is cut off out; write every object \
                 on one line: jq -c . FILE",
            ),
        };
    }
    if contains("trailing characters") {
        return with(
            "something follows the object",
            "write every object on a line of its own: jq -c . FILE",
        );
    }
    (message.clone(), "every line is one JSON object; is this another format?".to_owned())
}

/// The first of `words` that stands in `line` outside of its strings.
fn bare_word<'a>(line: &str, words: &[&'a str]) -> Option<&'a str> {
    let (mut inside, mut escaped, mut before) = (false, false, ' ');
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ if inside || before.is_alphanumeric() => {}
            _ => {
                let found = words.iter().find(|word| line[at..].starts_with(**word));
                if let Some(word) = found {
                    return Some(word);
                }
            }
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str, among_good: bool) -> (String, String) {
        field_of(line, "text", among_good).unwrap_err()
    }

    #[test]
    fn invariant_a_bad_line_is_told_its_cause_and_what_helps() {
        let deep = format!("{{\"text\": \"a\", \"x\": {}1{}}}", "[".repeat(300), "]".repeat(300));
        let cases = [
            (r#"{"text": "a", "score": NaN}"#, "NaN is no JSON", "allow_nan=False"),
            (r#"{"score": -Infinity, "text": "a"}"#, "-Infinity is no JSON", "allow_nan"),
            (r#"{"a": [1, Infinity], "text": "a"}"#, "Infinity is no JSON", "allow_nan"),
            (r#"{"text": "NaN \" NaN", "score": nan}"#, "expected", "another format"),
            (r#"{"text": "a", "x": None}"#, "None is Python", "json.dumps"),
            (r#"{"text": "a", "x": True}"#, "True is Python", "json.dumps"),
            (r"{'text': 'a'}", "double quotes", "json.dumps"),
            (r#"{"text": "half \ud83d here"}"#, "surrogate pair", "leave the line out"),
            (r#"{"text": "half \ude00"}"#, "surrogate pair", "leave the line out"),
            (r#"{"text": "end \ud83d"}"#, "surrogate pair", "leave the line out"),
            (r#"{"text": "a", "x": 1e999}"#, "a number is too large", "as a string"),
            (&deep, "nested too deeply", "leave the nested field out"),
            ("{\"text\": \"a\tb\"}", "control character", "as an escape"),
            ("{", "goes on in the next line", "jq -c"),
            (r#"{"text": "a""#, "ends inside a value", "copied whole"),
            (r#"{"text": "a"}{"text": "b"}"#, "something follows", "line of its own"),
            ("text", "expected", "another format"),
        ];
        for (line, cause, help) in cases {
            for among_good in [false, true] {
                let (problem, remedy) = refused(line, among_good);
                assert!(
                    problem.starts_with("not valid JSON: ") && problem.contains(cause),
                    "{problem}"
                );
                assert!(remedy.contains(help), "{line}: {remedy}");
            }
        }
    }

    #[test]
    fn invariant_a_field_without_text_is_told_by_what_the_file_showed_before() {
        for (line, what) in [
            (r#"{"text": null, "body": "b", "id": 3}"#, "is null"),
            (r#"{"text": 1.5, "body": "b", "id": 3}"#, "is a number"),
            (r#"{"text": ["a"], "body": "b", "id": 3}"#, "is a list"),
            (r#"{"text": {"a": 1}, "body": "b", "id": 3}"#, "is an object"),
            (r#"{"text": false, "body": "b", "id": 3}"#, "is true or false"),
            (r#"{"body": "b", "id": 3}"#, "no field"),
        ] {
            let (problem, first) = refused(line, false);
            assert!(problem.contains(what) && problem.contains("\"text\""), "{problem}");
            assert!(first.contains("text_field to one of [\"body\"]"), "{first}");
            let (_, later) = refused(line, true);
            assert!(later.contains("leave this line out") && !later.contains("text_field"));
        }
        let (_, none) = refused(r#"{"id": 3}"#, false);
        assert!(none.contains("no field of this line holds a string"), "{none}");
        assert_eq!(field_of(r#"{"a": 1, "text": "x", "z": null}"#, "text", true).unwrap(), "x");
    }
}
