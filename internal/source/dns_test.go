package source

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

// clustered is the configuration of a catalogue by the name of a cluster in DNS, and the port
// that its one member has.
func clustered(t *testing.T, catalogue *testenv.Catalogue, names *testenv.NameServer) (c Config, port uint16) {
	t.Helper()
	u, err := url.Parse(catalogue.URL)
	if err != nil {
		t.Fatal("the catalogue's URL cannot be read")
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	c = configOf(catalogue)
	c.URL = secret.URL(fmt.Sprintf("mongodb+srv://%s%s?tls=false&srvMaxHosts=1&authSource=admin", names.Domain, u.Path))
	return c, uint16(n)
}

// A cluster whose servers DNS does not name is one that is away: nothing is wrong with the
// configuration, and it is found when DNS comes back.
func TestCaseD1DNSIsAway(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	seeded := catalogue.Seed(10)
	names := testenv.NewNameServer(t)
	config, port := clustered(t, catalogue, names)
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	if names.Asked() != 0 {
		t.Error("reading the configuration has asked DNS")
	}
	s := open(t, config)
	for state, tt := range map[string]struct {
		set  func()
		want string
	}{
		"no such name": {func() { names.Names(0) }, "DNS names no servers of " + names.Domain + ": see to its SRV records, or to the host in PRODUCT_SERVICE_MONGODB_URL"},
		"silence":      {names.Silence, "no answer from DNS, which names the servers of " + names.Domain + ": see to the name server"},
	} {
		tt.set()
		_, err := s.Ping(t.Context())
		if !errors.As(err, new(*product.AwayError)) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", state, err)
		}
		if _, err := s.Count(t.Context()); !errors.As(err, new(*product.AwayError)) {
			t.Errorf("%s: %v", state, err)
		}
	}
	names.Names(port)
	if _, err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Count(t.Context()); err != nil || n != int64(seeded.N) {
		t.Errorf("%d products, %v", n, err)
	}
}

// What the URL itself gets wrong is told at once, without DNS.
func TestCaseD1WhatIsNoMatterOfDNS(t *testing.T) {
	t.Parallel()
	names := testenv.NewNameServer(t)
	names.Silence()
	for address, want := range map[string]string{
		"mongodb+srv://" + names.Domain + "/shop":                                        "",
		"mongodb+srv://" + names.Domain + "/shop?srvServiceName=shop&retryReads=true":    "",
		"mongodb+srv://" + names.Domain:                                                  "names no database",
		"mongodb+srv://" + names.Domain + ":27017/shop":                                  "one host without a port",
		"mongodb+srv://a." + names.Domain + ",b." + names.Domain + "/shop":               "one host without a port",
		"mongodb+srv:///shop":                                                            "one host without a port",
		"mongodb+srv://" + names.Domain + "/shop?readPreference=nearby":                  "is not a valid MongoDB URL",
		"mongodb+srv://" + names.Domain + "/shop?connectTimeoutMS=soon&srvMaxHosts=many": "is not a valid MongoDB URL",
	} {
		config := Config{URL: secret.URL(address), User: "etl", Password: "hush", Collection: "products"}
		err := config.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
	if names.Asked() != 0 {
		t.Errorf("DNS was asked %d times", names.Asked())
	}
}
