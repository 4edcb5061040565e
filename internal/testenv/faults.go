package testenv

import (
	"net"
	"net/url"
	"strings"
	"testing"
)

// Password is what tests put into URLs; no message may tell it.
const Password = "hunter2"

// CheckMessage checks that an error is one line that says what it must, and not Password.
func CheckMessage(tb testing.TB, err error, wants ...string) {
	tb.Helper()
	if err == nil {
		tb.Errorf("no error, want one that says %q", wants)
		return
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			tb.Errorf("the error does not say %q: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		tb.Errorf("the error has several lines: %q", err)
	}
	if strings.Contains(err.Error(), Password) {
		tb.Errorf("the error tells the password: %v", err)
	}
}

// ChangedURL is a URL with some of its parts replaced.
func ChangedURL(tb testing.TB, raw string, change func(*url.URL)) string {
	tb.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		tb.Fatal("a URL cannot be read")
	}
	change(u)
	return u.String()
}

// ClosedAddress is an address of this machine on which nobody listens.
func ClosedAddress(tb testing.TB) string {
	tb.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		tb.Fatal(err)
	}
	return listener.Addr().String()
}
