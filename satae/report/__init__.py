"""What is seen beside a result: the page, pictures of regions, reasons, STAC Items."""
