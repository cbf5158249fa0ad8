"""`satae review`: decisions in a GeoPackage, and the page that asks for them."""
