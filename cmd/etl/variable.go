package main

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"time"
	"unicode"

	"github.com/sethvargo/go-envconfig"

	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/text"
)

// variable is one variable of a section.
type variable struct {
	name  string
	field reflect.StructField
	value string // as the section reads it, empty where it is not set
	bare  string // in the quotes that its value is in
	// isQuoted tells that it is in quotes, as files for other readers have it.
	isQuoted bool
}

// variables are those of a section. A section looks them up there.
type variables []*variable

// variablesOf looks at a section's variables as Kubernetes, Compose and files leave them:
// one that is set and empty is not set, and the blanks around a value do not count. A
// secret is taken as it is.
func variablesOf(s section, env envconfig.Lookuper) variables {
	var all variables
	kind := reflect.TypeOf(s).Elem()
	for i := range kind.NumField() {
		v := &variable{field: kind.Field(i)}
		v.name, _, _ = strings.Cut(v.field.Tag.Get("env"), ",")
		given, _ := env.Lookup(v.name)
		v.bare, v.isQuoted = unquoted(strings.TrimSpace(given))
		switch {
		case v.isSecret():
			v.value = given
		case v.isQuoted:
			v.value = strings.TrimSpace(v.bare)
		default:
			v.value = strings.TrimSpace(given)
		}
		all = append(all, v)
	}
	return all
}

// Lookup is the value of a variable as its section reads it.
func (all variables) Lookup(name string) (string, bool) {
	for _, v := range all {
		if v.name == name {
			return v.value, v.value != ""
		}
	}
	return "", false
}

func (all variables) byField(name string) *variable {
	for _, v := range all {
		if v.field.Name == name {
			return v
		}
	}
	return nil
}

// isSecret tells whether each byte of the value may count.
func (v *variable) isSecret() bool { return v.field.Type == reflect.TypeFor[secret.Text]() }

// form says what a value must look like to be read.
func (v *variable) form() string {
	switch v.field.Type {
	case reflect.TypeFor[time.Duration]():
		return `a duration such as "30s" or "10m"`
	case reflect.TypeFor[bool]():
		return "true or false"
	}
	return "a whole number"
}

// quoted is a value on one line and not too long.
func quoted(value string) string {
	const most = 60
	return fmt.Sprintf("%q", text.Cut(value, most))
}

// unquoted is what is in the quotes around a value.
func unquoted(value string) (bare string, is bool) {
	for _, pair := range [][2]string{{`"`, `"`}, {"'", "'"}, {"`", "`"}, {"“", "”"}, {"‘", "’"}} {
		if len(value) >= len(pair[0])+len(pair[1]) && strings.HasPrefix(value, pair[0]) && strings.HasSuffix(value, pair[1]) {
			return value[len(pair[0]) : len(value)-len(pair[1])], true
		}
	}
	return value, false
}

const quotesRemain = "is in quotes, which only a shell removes: give it without them in a file for `docker run --env-file` and in manifests"

// inQuotes names the variables of a section that are in quotes. A secret may begin and end
// with such a character, so it is named only beside others.
func inQuotes(s section, env envconfig.Lookuper) []error {
	var plain, secrets []error
	for _, v := range variablesOf(s, env) {
		switch {
		case !v.isQuoted:
		case v.isSecret():
			secrets = append(secrets, fmt.Errorf("%s %s", v.name, quotesRemain))
		default:
			plain = append(plain, fmt.Errorf("%s %s", v.name, quotesRemain))
		}
	}
	if len(plain) == 0 {
		return nil
	}
	return append(plain, secrets...)
}

// remarks are on what is valid and hardly meant.
func (c *config) remarks(env envconfig.Lookuper) []string {
	var all []string
	for _, s := range c.sections() {
		if remarked, is := s.(interface{ Remarks() []string }); is {
			all = append(all, remarked.Remarks()...)
		}
		for _, v := range variablesOf(s, env) {
			all = append(all, v.remarks()...)
		}
	}
	for _, name := range unknownVariables(env) {
		all = append(all, name+" is set, and nothing reads a variable of this name")
	}
	return all
}

// remarks are on a secret that is taken as it is, and was hardly meant so.
func (v *variable) remarks() []string {
	var all []string
	switch {
	case v.isSecret() && v.isQuoted:
		all = append(all, v.name+" "+quotesRemain)
	case v.isSecret() && blankEnds(v.value):
		all = append(all, v.name+" begins or ends with a blank or a line break, which counts: a Secret made with `echo` has one, with `printf %s` it has none")
	case v.field.Type == reflect.TypeFor[secret.URL]():
		if address, err := url.Parse(v.value); err == nil {
			if password, _ := address.User.Password(); blankEnds(password) {
				all = append(all, "the password in "+v.name+" begins or ends with a blank or a line break, which counts")
			}
		}
	}
	return all
}

// blankEnds tells whether a text begins or ends with what nobody sees.
func blankEnds(s string) bool {
	return strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) != s
}
