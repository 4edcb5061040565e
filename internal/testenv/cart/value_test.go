package cart

import (
	"testing"
)

// What node-postgres 8 was seen to send for these values.
func TestParameter(t *testing.T) {
	t.Parallel()
	for literal, want := range map[string]string{
		`"text"`:                  `text`,
		`""`:                      ``,
		`"lone \ud800"`:           "lone \uFFFD",
		`true`:                    `true`,
		`777`:                     `777`,
		`777.0`:                   `777`,
		`7.77e2`:                  `777`,
		`5.5`:                     `5.5`,
		`-0`:                      `0`,
		`-0.0`:                    `0`,
		`1e21`:                    `1e+21`,
		`1e20`:                    `100000000000000000000`,
		`1e-7`:                    `1e-7`,
		`0.000001`:                `0.000001`,
		`1e999`:                   `Infinity`,
		`-1e999`:                  `-Infinity`,
		`9007199254740993`:        `9007199254740992`,
		`{ "a": 1 }`:              `{"a":1}`,
		`[]`:                      `{}`,
		`["a","c\"d\\",null,1]`:   `{"a","c\"d\\",NULL,"1"}`,
		`[[1],["x", {"a": "b"}]]`: `{{"1"},{"x","{\"a\":\"b\"}"}}`,
	} {
		got, err := parameter([]byte(literal))
		if err != nil || got == nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", literal, got, err, want)
		}
	}
	if got, err := parameter([]byte(`null`)); got != nil || err != nil {
		t.Errorf("null: got %q, %v, want nil", got, err)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for body, id := range map[string]string{
		`{"id":"a"}`:                "a",
		" \n{\"id\":\"a\"}\r\n":     "a",
		`{"id":"first","id":"a"}`:   "a",
		`{"ID":"b","id":"a","x":1}`: "a",
	} {
		event, err := parse([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if got, err := event.parameter("id"); string(got) != id || err != nil {
			t.Errorf("%s: got id %q, %v, want %q", body, got, err, id)
		}
	}
	for _, body := range []string{`5`, `"text"`, `[]`, `true`, `{"ID":"a"}`} {
		if event, err := parse([]byte(body)); err != nil || event.has("id") {
			t.Errorf("%s: got %v, %v, want an event without an id", body, event, err)
		}
	}
	for _, body := range []string{``, ` `, `null`, ` null `, "\uFEFF{}", `{} {}`, `{'id':1}`, `{"id":1,}`, `nul`} {
		if event, err := parse([]byte(body)); err == nil {
			t.Errorf("%q: got %v, want an error", body, event)
		}
	}
}
