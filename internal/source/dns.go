package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/ecom-micro/etl/internal/product"
)

// dnsTimeout is how long DNS may take to name a cluster's hosts.
const dnsTimeout = 5 * time.Second

// cluster is the DNS name of the one host of a mongodb+srv URL, and the service that DNS has
// its members under; empty of any other URL.
// https://www.mongodb.com/docs/manual/reference/connection-string/#srv-connection-format
func (c *Config) cluster() (host, service string) {
	rest, is := strings.CutPrefix(c.URL.Reveal(), connstring.SchemeMongoDBSRV+"://")
	if !is {
		return "", ""
	}
	authority, query := rest, ""
	if at := strings.IndexAny(rest, "/?"); at >= 0 {
		authority = rest[:at]
		_, query, _ = strings.Cut(rest[at:], "?")
	}
	values, _ := url.ParseQuery(query) // the driver says what is wrong with it
	for name := range values {
		if strings.EqualFold(name, "srvServiceName") {
			service = values.Get(name)
		}
	}
	return authority[strings.LastIndexByte(authority, '@')+1:], cmp.Or(service, "mongodb")
}

// withoutDNS is the URL, in the place of mongodb+srv one of the same meaning that needs no
// DNS to be read.
func (c *Config) withoutDNS() (string, error) {
	address := c.URL.Reveal()
	host, _ := c.cluster()
	switch {
	case !strings.HasPrefix(address, connstring.SchemeMongoDBSRV+"://"):
		return address, nil
	case host == "" || strings.ContainsAny(host, ",:"):
		return "", errors.New("PRODUCT_SERVICE_MONGODB_URL must name one host without a port behind mongodb+srv://: DNS has those of its members")
	}
	address = connstring.SchemeMongoDB + strings.TrimPrefix(address, connstring.SchemeMongoDBSRV)
	before, query, found := strings.Cut(address, "?")
	if !found {
		return address, nil
	}
	var kept []string
	for _, option := range strings.Split(query, "&") {
		if !strings.HasPrefix(strings.ToLower(option), "srv") { // options that only such a URL may have
			kept = append(kept, option)
		}
	}
	return before + "?" + strings.Join(kept, "&"), nil
}

// connect makes the client. Where DNS has to name the servers it is asked first, and its
// silence is that of a server: nothing that the URL could be blamed for.
func (s *Source) connect(ctx context.Context) error {
	s.connecting.Lock()
	defer s.connecting.Unlock()
	if s.collection != nil {
		return nil
	}
	if host, service := s.config.cluster(); host != "" {
		ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
		defer cancel()
		if _, _, err := net.DefaultResolver.LookupSRV(ctx, service, "tcp", host); err != nil {
			return unnamed(host, err)
		}
	}
	return s.makeClient()
}

// makeClient waits for nothing but a DNS that has just answered.
func (s *Source) makeClient() error {
	opts, database, err := s.config.clientOptions()
	if err != nil {
		return err
	}
	client, err := mongo.Connect(opts)
	if err != nil {
		return fmt.Errorf("connect to MongoDB: %w", err)
	}
	s.client, s.direct = client, opts.Direct != nil && *opts.Direct
	s.collection = client.Database(database).Collection(s.config.Collection)
	return nil
}

// unnamed is the error of a cluster whose servers DNS does not name.
func unnamed(host string, err error) error {
	var refused *net.DNSError
	if errors.As(err, &refused) && refused.IsNotFound {
		return &product.AwayError{Server: "MongoDB", Err: fmt.Errorf("DNS names no servers of %s: see to its SRV records, or to the host in PRODUCT_SERVICE_MONGODB_URL (%w)", host, err)}
	}
	return &product.AwayError{Server: "MongoDB", Err: fmt.Errorf("no answer from DNS, which names the servers of %s: see to the name server (%w)", host, err)}
}
