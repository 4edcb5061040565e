package main

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// The README and .env.example name every variable, with its default, and no other.
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
	readme := read(t, "../../README.md")
	example := read(t, "../../.env.example")
	for name, value := range defaults {
		row := regexp.MustCompile("(?m)^\\|[^|]*`" + name + "`.*$").FindString(readme)
		if row == "" || !strings.Contains(row, value) {
			t.Errorf("the README's table does not name %s with its default %q: %q", name, value, row)
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
