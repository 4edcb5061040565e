package main

import (
	"net/url"
	"strings"
	"testing"
)

// The image's health check asks the service beside it.
func TestHealthCommand(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, none)
	s.consumer()
	r := s.serve(nil)
	r.ready()
	address, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	beside := s.with(map[string]string{"PORT": address.Port(), "ETL_HOST": "127.0.0.1"})
	for _, args := range [][]string{{"health"}, {"health", "--full"}} {
		if o := beside.etl(t.Context(), args...); o.code != exitOK || !strings.Contains(o.stdout, `"status":"ready"`) {
			t.Errorf("%v: %+v", args, o)
		}
	}
	r.stop()
	<-r.running.ended
	if o := beside.etl(t.Context(), "health"); o.code != exitService || !strings.Contains(o.stderr, "no service answers") {
		t.Errorf("%+v", o)
	}
	for host, want := range map[string]string{"": "localhost", "0.0.0.0": "localhost", "[::]": "localhost", "127.0.0.1": "127.0.0.1", "[::1]": "::1", "etl": "etl"} {
		if got := localHost(host); got != want {
			t.Errorf("%q is reached at %q, want %q", host, got, want)
		}
	}
}
