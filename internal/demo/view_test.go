package main

import (
	"strings"
	"testing"
)

func TestView(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		paths      []string
		text, want string
	}{
		"no paths":                       {nil, "a\n\n{\"b\": 1}", "a\n\n{\"b\": 1}\n"},
		"no JSON":                        {[]string{"a"}, "plain\n: still here\n", "plain\n: still here\n"},
		"members":                        {[]string{"a", "b"}, `{"c":0,"a":{"x": 1},"b":"<"}`, `{"a":{"x": 1}, "b":"<", …}` + "\n"},
		"nothing left out":               {[]string{"a"}, `{"a":1}`, `{"a":1}` + "\n"},
		"within members and in lists":    {[]string{"a.b"}, `{"a":[{"b":1,"c":2},{"b":3}]}`, "{\"a\":[{\"b\":1, …},\n {\"b\":3}]}\n"},
		"a member that has no members":   {[]string{"a.b"}, `{"a":null}`, `{"a":null}` + "\n"},
		"events, each only when changed": {[]string{"a"}, "retry: 1\n\nid: 1\nevent: run\ndata: {\"a\":1,\"v\":1}\n\nid: 2\nevent: run\ndata: {\"a\":1,\"v\":2}\n\n", "{\"a\":1, …}\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			v := &view{out: &out, paths: test.paths}
			for i := range test.text { // as it may arrive
				if _, err := v.Write([]byte(test.text[i : i+1])); err != nil {
					t.Fatal(err)
				}
			}
			if err := v.flush(); err != nil {
				t.Fatal(err)
			}
			if out.String() != test.want {
				t.Errorf("got %q, want %q", out.String(), test.want)
			}
		})
	}
}
