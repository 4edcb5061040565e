package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// The configuration reference and .env.example name every variable, with its default, and no other.
func TestDocumentsNameEveryVariable(t *testing.T) {
	t.Parallel()
	defaults := map[string]string{}
	for _, s := range (&config{}).sections() {
		kind := reflect.TypeOf(s).Elem()
		for i := range kind.NumField() {
			name, options, _ := strings.Cut(kind.Field(i).Tag.Get("env"), ",")
			_, value, _ := strings.Cut(options, "default=")
			defaults[name] = value
		}
	}
	reference := read(t, "../../docs/configuration.md")
	example := read(t, "../../.env.example")
	for name, value := range defaults {
		row := regexp.MustCompile("(?m)^\\|[^|]*`" + name + "`.*$").FindString(reference)
		if row == "" || !strings.Contains(row, value) {
			t.Errorf("docs/configuration.md does not name %s with its default %q: %q", name, value, row)
		}
		line := regexp.MustCompile("(?m)^#?" + name + "=(.*)$").FindStringSubmatch(example)
		if line == nil {
			t.Errorf(".env.example does not name %s", name)
		} else if value != "" && line[1] != value {
			t.Errorf(".env.example has %s=%s, the default is %s", name, line[1], value)
		}
	}
	for _, line := range regexp.MustCompile(`(?m)^#?([A-Z_]+)=`).FindAllStringSubmatch(example, -1) {
		if _, known := defaults[line[1]]; !known && line[1] != "GOMEMLIMIT" {
			t.Errorf(".env.example names %s, which nothing reads", line[1])
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Links between documents lead somewhere, to the heading that they name.
func TestDocumentsLinks(t *testing.T) {
	t.Parallel()
	documents := []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "BENCHMARKS.md", "api/ui/README.md"}
	more, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(more) < 5 {
		t.Fatalf("%v, %v", more, err)
	}
	for _, path := range more {
		documents = append(documents, strings.TrimPrefix(path, "../../"))
	}
	for _, name := range documents {
		for _, link := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(read(t, "../../"+name), -1) {
			path, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			target := filepath.Join("../..", filepath.Dir(name), path)
			if path == "" {
				target = "../../" + name
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", name, link[1])
				continue
			}
			if anchor != "" && !hasHeading(read(t, target), anchor) {
				t.Errorf("%s links to %s, which has no such heading", name, link[1])
			}
		}
	}
}

// hasHeading tells whether a document has a heading of an anchor, as forges make them.
func hasHeading(text, anchor string) bool {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		plain := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		if strings.ReplaceAll(plain, " ", "-") == anchor {
			return true
		}
	}
	return false
}

// What the README has people type is what the program takes. Runs need servers; what they do is
// tested elsewhere.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	s := newShop(t, 20, none)
	s.consumer()
	typed := regexp.MustCompile(`(?m)^\$ (?:[A-Z]+=\$\()?bin/etl ([^#\n)]+)`).FindAllStringSubmatch(read(t, "../../README.md"), -1)
	if len(typed) < 6 {
		t.Fatalf("the README has only %q", typed)
	}
	for _, line := range typed {
		args := strings.Fields(line[1])
		if args[0] == "serve" {
			continue
		}
		if o := s.etl(t.Context(), args...); o.code == exitUsage {
			t.Errorf("etl %s: %s", line[1], o.stderr)
		}
	}
	makefile := read(t, "../../Makefile")
	for _, line := range regexp.MustCompile(`(?m)^\$ make ([a-z-]+)`).FindAllStringSubmatch(read(t, "../../README.md"), -1) {
		if !strings.Contains(makefile, "\n"+line[1]+":") {
			t.Errorf("there is no make %s", line[1])
		}
	}
}
