package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/ecom-micro/etl/api"
)

func TestPreferredWait(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		lines []string
		want  time.Duration
		given bool
	}{
		{"nothing", nil, 0, false},
		{"a wait", []string{"wait=10"}, 10 * time.Second, true},
		{"no wait", []string{"wait=0"}, 0, true},
		{"too long", []string{"wait=3600"}, time.Minute, true},
		{"large letters and space", []string{" Wait = 5 "}, 5 * time.Second, true},
		{"quoted", []string{`wait="7"`}, 7 * time.Second, true},
		{"beside others", []string{"respond-async, wait=10, handling=lenient"}, 10 * time.Second, true},
		{"on a line of its own", []string{"respond-async", "wait=10"}, 10 * time.Second, true},
		{"with parameters", []string{"wait=10; foo=bar; x"}, 10 * time.Second, true},
		{"twice: the first counts", []string{"wait=10, wait=20"}, 10 * time.Second, true},
		{"within a quoted string", []string{`foo="a, wait=10", bar`}, 0, false},
		{"behind a quoted string", []string{`foo="a;\", b"; c, wait=3`}, 3 * time.Second, true},
		{"an open quote", []string{`foo="wait=10, wait=20`}, 0, false},
		{"ends with a backslash", []string{`foo="\`}, 0, false},
		{"of another name", []string{"waiting=10"}, 0, false},
		{"as a parameter", []string{"foo; wait=10"}, 0, false},
		{"without a value", []string{"wait"}, 0, false},
		{"negative", []string{"wait=-1"}, 0, false},
		{"a fraction", []string{"wait=1.5"}, 0, false},
		{"huge", []string{"wait=99999999999999999999"}, 0, false},
		{"words", []string{"wait=long"}, 0, false},
		{"empty parts", []string{",,;,"}, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wait, given := api.PreferredWait(http.Header{"Prefer": tt.lines})
			if wait != tt.want || given != tt.given {
				t.Errorf("%v, %v; want %v, %v", wait, given, tt.want, tt.given)
			}
		})
	}
}
