package main

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
)

// view passes lines on, JSON documents among them abridged to some members, and
// nothing twice in a row.
type view struct {
	out   io.Writer
	paths []string // the members to show, such as progress.phase; arrays do not count
	line  []byte   // that has no end yet
	last  string
}

func (v *view) Write(p []byte) (int, error) {
	v.line = append(v.line, p...)
	for {
		line, rest, found := bytes.Cut(v.line, []byte("\n"))
		if !found {
			return len(p), nil
		}
		v.line = rest
		if err := v.show(line); err != nil {
			return 0, err
		}
	}
}

// flush shows what is left without an end of line.
func (v *view) flush() error {
	line := v.line
	v.line = nil
	if len(line) == 0 {
		return nil
	}
	return v.show(line)
}

func (v *view) show(line []byte) error {
	text := string(line)
	if len(v.paths) > 0 {
		if document := bytes.TrimPrefix(line, []byte("data: ")); json.Valid(document) {
			text = abridged(document, v.paths)
		} else if text == "" || strings.HasPrefix(text, "retry: ") || strings.HasPrefix(text, "event: ") || strings.HasPrefix(text, "id: ") {
			return nil // what frames a server-sent event
		}
		if text == v.last {
			return nil
		}
		v.last = text
	}
	_, err := io.WriteString(v.out, text+"\n")
	return err
}

// abridged is a JSON value without the members that no path names; … stands for them.
func abridged(value json.RawMessage, paths []string) string {
	decoder := json.NewDecoder(bytes.NewReader(value))
	start, _ := decoder.Token() // the value is valid
	switch start {
	case json.Delim('['):
		var elements []string
		for decoder.More() {
			var element json.RawMessage
			_ = decoder.Decode(&element)
			elements = append(elements, abridged(element, paths))
		}
		return "[" + strings.Join(elements, ",\n ") + "]"
	case json.Delim('{'):
		var members, left []string
		for decoder.More() {
			name, _ := decoder.Token()
			var member json.RawMessage
			_ = decoder.Decode(&member)
			var below []string
			for _, path := range paths {
				if rest, found := strings.CutPrefix(path, name.(string)+"."); found {
					below = append(below, rest)
				}
			}
			switch key := `"` + name.(string) + `":`; {
			case slices.Contains(paths, name.(string)):
				members = append(members, key+string(member))
			case len(below) > 0:
				members = append(members, key+abridged(member, below))
			default:
				left = []string{"…"}
			}
		}
		members = append(members, left...)
		return "{" + strings.Join(members, ", ") + "}"
	}
	return string(value)
}
