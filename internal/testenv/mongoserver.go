package testenv

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// mongoServer is the stack's MongoDB URL in parts.
type mongoServer struct {
	scheme, hosts  string
	user, password string
	options        url.Values // without authSource
	authSource     string     // where the user is known to be able to log in
}

// parseMongoURL takes a MongoDB URL apart. net/url cannot: there may be several hosts.
func parseMongoURL(raw string) (mongoServer, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return mongoServer{}, fmt.Errorf("it has no scheme")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, database, _ := strings.Cut(rest, "/")
	userinfo, hosts, ok := cutLast(authority, "@")
	if !ok {
		return mongoServer{}, fmt.Errorf("it names no user")
	}
	server := mongoServer{scheme: scheme, hosts: hosts}
	user, password, _ := strings.Cut(userinfo, ":")
	var err error
	if server.user, err = url.PathUnescape(user); err != nil {
		return mongoServer{}, fmt.Errorf("its user: %w", err)
	}
	if server.password, err = url.PathUnescape(password); err != nil {
		return mongoServer{}, fmt.Errorf("its password: %w", err)
	}
	if server.options, err = url.ParseQuery(query); err != nil {
		return mongoServer{}, fmt.Errorf("its options: %w", err)
	}
	server.authSource = cmp.Or(server.options.Get("authSource"), database, "admin")
	server.options.Del("authSource")
	return server, nil
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return "", s, false
}

// database is the URL of a database on the server, without credentials, and with an authSource unless that is empty.
func (s mongoServer) database(name, authSource string) string {
	query := url.Values{}
	for option, values := range s.options {
		query[option] = values
	}
	if authSource != "" {
		query.Set("authSource", authSource)
	}
	text := s.scheme + "://" + s.hosts + "/" + name
	if len(query) > 0 {
		text += "?" + query.Encode()
	}
	return text
}

var loginAnywhere = sync.OnceValues(func() (bool, error) {
	services, err := current()
	if err != nil {
		return false, err
	}
	server, err := parseMongoURL(services.MongoDB)
	if err != nil {
		return false, err
	}
	try := func(authSource string) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		client, err := server.connect(server.database(authSource, ""), authSource)
		if err != nil {
			return err
		}
		defer func() { _ = client.Disconnect(ctx) }() // the ping has told what there is to know
		return client.Ping(ctx, nil)
	}
	if try(randomName("login")) == nil {
		return true, nil
	}
	return false, try(server.authSource)
})

// requiredAuthSource is the authSource option that the URL of any database on the server needs so that its user can
// log in: empty for FerretDB, whose users may log in at any database, and usually admin for MongoDB.
func (s mongoServer) requiredAuthSource() (string, error) {
	anywhere, err := loginAnywhere()
	if err != nil || anywhere {
		return "", err
	}
	return s.authSource, nil
}

// connect opens a client that logs in as the server's user.
func (s mongoServer) connect(rawURL, authSource string) (*mongo.Client, error) {
	return mongo.Connect(options.Client().ApplyURI(rawURL).
		SetAppName("testenv").
		SetServerSelectionTimeout(10 * time.Second).
		SetAuth(options.Credential{Username: s.user, Password: s.password, AuthSource: authSource}))
}
