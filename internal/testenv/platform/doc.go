// Package platform holds what the e-commerce platform around the service looks like from outside, so that tests
// and the demo can imitate it: the products that the Product Service stores, the tables that the Cart Service
// keeps, and the exchange, queues and events that both agree on. It knows nothing of testing.
package platform
